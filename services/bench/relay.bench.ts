import { envelopeHeaders } from "#platform/events/envelope.ts";
import { createPublisher } from "#platform/nats/publisher.ts";
import { ensureStream } from "#platform/nats/streams.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox, type OutboxEvent, transact } from "#platform/outbox/outbox.ts";
import { startRelay } from "#platform/outbox/relay.worker.ts";
import { systemClock as clock } from "#platform/time/clock.ts";
import { benchEvents, createBenchKit, percentile, perSecond } from "./event-bench-kit.ts";
import { postgresCpuMicros } from "./postgres-cpu.ts";
import { profiled } from "./profiled.ts";

// How fast the relay drains an outbox, against publishing the same messages without a database; and how long an event
// takes from the start of its transaction to a subscriber, at a steady 1,000 events a second, ten a transaction.

const total = 60_000;
const type = "decentrastore.events.v1.ChunkStored";

await using kit = await createBenchKit();
const pool = await kit.pool("node_registry");
const nats = await kit.connect("node-registry");
await ensureStream(nats, "CHUNKS", {}, kit.log);
const events = benchEvents(total, "decentrastore.chunk.stored", type);

const bareMs = await publishBare(events);
console.log(`bare acknowledged publishing: ${perSecond(total, bareMs)}`);

const outbox = createOutbox("node_registry");
for (let start = 0; start < total; start += 1_000) {
  await pool.transaction((tx) => outbox.append(tx, events.slice(start, start + 1_000)));
}
const metrics = createMetrics("node-registry");
const signal = new AbortController().signal;
const { streams } = await (await kit.connect("operator")).connection.jetstreamManager();
await streams.purge("CHUNKS");
await streams.delete("CHUNKS"); // its memory of message ids too
const startedAt = clock.monotonicMs();
const cpuAtStart = process.cpuUsage();
const databaseAtStart = await postgresCpuMicros(pool);
await using _relay = startRelay({
  ...{ pool, schema: "node_registry", nats, streams: ["CHUNKS"], outbox, clock, log: kit.log, metrics, signal },
});
await profiled("relay", total, async () => {
  while ((await published()) < total) await clock.sleep(5);
});
const relayMs = clock.monotonicMs() - startedAt;
const cpu = process.cpuUsage(cpuAtStart);
console.log(
  `relay, outbox to marked:      ${perSecond(total, relayMs)}, ratio to bare ${(bareMs / relayMs).toFixed(2)}`,
);

const databaseMicros = (await postgresCpuMicros(pool)) - databaseAtStart;
console.log(
  `relay, processor time per event: Node ${((cpu.user + cpu.system) / total).toFixed(1)} µs, ` +
    `PostgreSQL ${(databaseMicros / total).toFixed(1)} µs`,
);

const delays = (await steady(1_000, 8)).toSorted((a, b) => a - b);
const [p50, p99] = [percentile(delays, 50), percentile(delays, 99)];
console.log(`commit to subscriber at 1,000/s: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`);

async function published(): Promise<number> {
  const metric = await metrics.registry.getSingleMetric("decentrastore_outbox_published_total")?.get();
  return metric?.values[0]?.value ?? 0;
}

async function publishBare(all: readonly OutboxEvent[]): Promise<number> {
  using publisher = createPublisher({ nats, clock });
  const done = Promise.withResolvers<void>();
  const window = 2_048;
  let next = 0;
  let stored = 0;
  const from = clock.monotonicMs();
  const send = () => {
    const event = all[next];
    if (event === undefined) return;
    next += 1;
    const { eventId, key, keyVersion, subject, payload } = event;
    const envelope = { eventId, type, source: "/decentrastore/bench", key, keyVersion, sequence: BigInt(next) };
    publisher.publish({ subject, payload, headers: envelopeHeaders({ ...envelope, time: clock.now() }) }, () => {
      stored += 1;
      if (stored === all.length) done.resolve();
      send();
    });
  };
  for (let sent = 0; sent < window; sent += 1) send();
  await done.promise;
  return clock.monotonicMs() - from;
}

/** Transactions at fixed times, whether the last one is through or not. */
async function steady(rate: number, seconds: number): Promise<number[]> {
  const begun = new Map<string, number>();
  const delays: number[] = [];
  const subscriber = await kit.connect("user-quota");
  subscriber.connection.subscribe("decentrastore.chunk.>", {
    callback: (_error, message) => {
      const at = begun.get(message.headers?.get("ce-id") ?? "");
      if (at !== undefined) delays.push(clock.monotonicMs() - at);
    },
  });
  await subscriber.connection.flush();
  const all = benchEvents(rate * seconds, "decentrastore.chunk.stored", type);
  const from = clock.monotonicMs();
  const running: Promise<void>[] = [];
  for (let index = 0; index < all.length; index += 10) {
    const at = from + (index * 1_000) / rate;
    if (at > clock.monotonicMs()) await clock.sleep(at - clock.monotonicMs());
    const group = all.slice(index, index + 10);
    for (const { eventId } of group) begun.set(eventId, at);
    running.push(transact({ pool, outbox }, (tx) => outbox.append(tx, group)));
  }
  await Promise.all(running);
  while (delays.length < all.length) await clock.sleep(5);
  return delays;
}
