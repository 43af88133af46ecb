import { envelopeHeaders } from "#platform/events/envelope.ts";
import type { ReceivedEvent } from "#platform/inbox/received-event.ts";
import { connectNats, type Nats } from "#platform/nats/connect.ts";
import { createPublisher } from "#platform/nats/publisher.ts";
import { ensureStream } from "#platform/nats/streams.ts";
import { createTestLogger } from "#platform/testing/test-database.ts";
import type { TestNats } from "#platform/testing/test-nats.ts";
import { systemClock } from "#platform/time/clock.ts";

/** The stream CHUNKS as node-registry fills it. */
export interface ChunkStream extends AsyncDisposable {
  readonly nats: Nats;
  /** Resolves when the broker has stored all of them. */
  publish(events: readonly ReceivedEvent[]): Promise<void>;
}

export async function openChunkStream(broker: TestNats): Promise<ChunkStream> {
  const log = createTestLogger("node-registry");
  const nats = await connectNats({ url: broker.url("node-registry"), name: "node-registry", log });
  await ensureStream(nats, "CHUNKS", { maxBytes: 512 * 1024 * 1024 }, log);
  const publisher = createPublisher({ nats, clock: systemClock });
  return {
    nats,
    publish: async (events) => {
      await Promise.all(events.map((event) => stored(publisher, event)));
    },
    [Symbol.asyncDispose]: async () => {
      publisher[Symbol.dispose]();
      await nats[Symbol.asyncDispose]();
    },
  };
}

function stored(publisher: ReturnType<typeof createPublisher>, event: ReceivedEvent): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const { eventId, type, key, keyVersion, sequence, time, payload } = event;
  const headers = envelopeHeaders({
    eventId,
    type,
    key,
    keyVersion,
    sequence,
    time: Temporal.Instant.from(time),
    source: "/decentrastore/node-registry",
  });
  const subject = event.subject;
  publisher.publish({ subject, payload, headers }, (outcome) => {
    if (outcome.kind === "stored") resolve();
    else reject(new Error(`the broker did not store an event: ${outcome.kind}`));
  });
  return promise;
}
