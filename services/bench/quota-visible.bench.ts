import { randomBytes, randomUUID } from "node:crypto";
import { ChunkStoredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { startConsumer } from "#platform/inbox/consumer.worker.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox, newEvent, transact } from "#platform/outbox/outbox.ts";
import { startRelay } from "#platform/outbox/relay.worker.ts";
import { systemClock as clock } from "#platform/time/clock.ts";
import { onChunkFacts } from "../user-quota/charges/on-chunk-facts.event.ts";
import { createBenchKit, percentile } from "./event-bench-kit.ts";
import { isShort, measured } from "./measured.ts";

// How long after the moment that a report is due its charge is committed, at 1,000 chunks per second that do not wait for
// each other: node-registry's outbox, the relay, JetStream, user-quota's consumer and ledger, all in this process. Target:
// p99 under 150 ms. The baseline of the same run is an event loop that only sleeps: what it is late by is the machine's doing.

const perSecond = 1_000;
const ROUNDS = 3;
const secondsPerRound = isShort ? 2 : 4;
const warmUpSeconds = 3;
const seconds = warmUpSeconds + ROUNDS * secondsPerRound;
const tickMs = 10;
const users = Array.from({ length: 500 }, () => randomUUID());

await using kit = await createBenchKit();
const registryPool = await kit.pool("node_registry");
const quotaPool = await kit.pool("user_quota");
const registryOutbox = createOutbox("node_registry");
const metrics = createMetrics("bench");
const signal = new AbortController().signal;
const shared = { clock, log: kit.log, metrics, signal };

await using _relay = startRelay({
  ...shared,
  ...{ pool: registryPool, schema: "node_registry", outbox: registryOutbox, streams: ["CHUNKS"] },
  nats: await kit.connect("node-registry"),
});
const facts = onChunkFacts({
  ...{ pool: quotaPool, outbox: createOutbox("user_quota"), clock, log: kit.log, metrics },
  registry: { getUserUsage: () => Promise.reject(new Error("not needed")) },
  chunkConsumption: () => Promise.reject(new Error("not needed")),
  defaultQuotaBytes: 2n ** 50n,
});
const dueAt = new Map<string, number>();
const latencies: number[] = [];
await using _consumer = startConsumer({
  ...shared,
  ...{ pool: quotaPool, schema: "user_quota", stream: "CHUNKS", durable: "user-quota-chunks" },
  nats: await kit.connect("user-quota"),
  apply: async (tx, events, batch) => {
    await facts(tx, events, batch);
    batch.afterCommit(() => {
      const now = clock.monotonicMs();
      for (const { eventId } of events) latencies.push(now - (dueAt.get(eventId) ?? now));
    });
  },
});

const lateness: number[] = [];
const total = perSecond * seconds;
const startedAt = clock.monotonicMs();
for (let sent = 0; sent < total; ) {
  const due = Math.min(total, Math.floor(((clock.monotonicMs() - startedAt) / 1_000) * perSecond));
  if (due > sent) await report(sent, due - sent);
  sent = Math.max(sent, due);
  const before = clock.monotonicMs();
  await clock.sleep(tickMs);
  lateness.push(clock.monotonicMs() - before - tickMs);
}
while (latencies.length < total) await clock.sleep(20);
const warm = latencies.slice(perSecond * warmUpSeconds);
show("report to visible charge", warm);
const eventsPerRound = perSecond * secondsPerRound;
const p99s = Array.from({ length: ROUNDS }, (_, round) => {
  const own = warm.slice(round * eventsPerRound, (round + 1) * eventsPerRound);
  return percentile(
    own.toSorted((a, b) => a - b),
    99,
  );
});
measured("quotaVisible", p99s);
show("baseline, an event loop that sleeps is late by", lateness);

/** The chunks of one tick, in one transaction, as a report of many chunks is. */
async function report(first: number, count: number): Promise<void> {
  const events = Array.from({ length: count }, () => {
    const chunkHash = randomBytes(32).toString("hex");
    const at = { subject: `decentrastore.chunk.stored.${chunkHash}`, key: chunkHash, keyVersion: 1n, clock };
    const userId = users[Math.floor(Math.random() * users.length)] ?? "";
    return newEvent(ChunkStoredSchema, at, {
      ...{ chunkHash, userId, uploadId: randomUUID(), generation: 1, sizeBytes: 262_144n, reachedQuorum: true },
    });
  });
  for (const [index, { eventId }] of events.entries())
    dueAt.set(eventId, startedAt + ((first + index) * 1_000) / perSecond);
  await transact({ pool: registryPool, outbox: registryOutbox }, (tx) => registryOutbox.append(tx, events));
}

function show(name: string, values: readonly number[]): void {
  const sorted = values.toSorted((a, b) => a - b);
  const [p50, p99, worst] = [percentile(sorted, 50), percentile(sorted, 99), sorted.at(-1) ?? 0];
  console.log(`${name}: p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms, worst ${worst.toFixed(0)} ms`);
}
