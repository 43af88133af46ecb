import { expect, test } from "vitest";
import { createTestLogger } from "../testing/test-database.ts";
import { startTestNats } from "../testing/test-nats.ts";
import { connectNats } from "./connect.ts";
import { readStream } from "./read-stream.ts";
import { isStreamMissing, streamConfig } from "./streams.ts";

const log = createTestLogger();

// nats-server 2.9 knows a stream by name before it has its store, and dies of the question for a message of it.
test("a stream that is read at the moment at which it is made does not end the broker", async () => {
  await using broker = await startTestNats();
  await using maker = await connectNats({ url: broker.url("operator"), name: "maker", log });
  await using reader = await connectNats({ url: broker.url("operator"), name: "reader", log });
  const { streams } = await maker.connection.jetstreamManager();
  for (let round = 0; round < 100; round += 1) {
    let isMade = false;
    const making = streams.add(streamConfig("DEAD_LETTERS")).then(() => {
      isMade = true;
    });
    while (!isMade) {
      const found = await Array.fromAsync(readStream(reader, "DEAD_LETTERS")).catch((error: unknown) => {
        if (isStreamMissing(error)) return [];
        throw error;
      });
      expect(found).toEqual([]);
    }
    await making;
    await streams.delete("DEAD_LETTERS");
  }
});
