import { headers } from "nats";
import { expect, test } from "vitest";
import { createTestLogger } from "../testing/test-database.ts";
import { startTestNats } from "../testing/test-nats.ts";
import { systemClock } from "../time/clock.ts";
import { connectNats } from "./connect.ts";
import { createPublisher, type PublishOutcome } from "./publisher.ts";
import { streamConfig } from "./streams.ts";

test("an account that has used up its storage counts as a full stream, not as a refusal of each event", async () => {
  const user = { user: "limited", password: "limited" };
  await using broker = await startTestNats({
    accounts: { LIMITED: { jetstream: { max_file: 500_000 }, users: [user] } },
  });
  const url = `nats://${user.user}:${user.password}@127.0.0.1:${broker.port}`;
  await using nats = await connectNats({ url, name: "limited", log: createTestLogger() });
  const { streams } = await nats.connection.jetstreamManager();
  // What a stream has no limit of its own for comes out of what the account may use.
  await streams.add({ ...streamConfig("USERS"), max_bytes: -1 });
  using publisher = createPublisher({ nats, clock: systemClock });
  const publish = (number: number) => {
    const marked = headers();
    marked.set("Nats-Msg-Id", `${number}`);
    const { promise, resolve } = Promise.withResolvers<PublishOutcome>();
    const subject = `decentrastore.user.registered.${number}`;
    publisher.publish({ subject, payload: new Uint8Array(100_000), headers: marked }, resolve);
    return promise;
  };
  const outcomes: PublishOutcome[] = [];
  for (let number = 0; number < 10; number += 1) outcomes.push(await publish(number));
  expect(outcomes[0]).toMatchObject({ kind: "stored", stream: "USERS" });
  expect(outcomes.at(-1)).toMatchObject({ kind: "stream_full" });
});
