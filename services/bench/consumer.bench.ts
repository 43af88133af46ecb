import { z } from "zod";
import { envelopeHeaders } from "#platform/events/envelope.ts";
import { type ReceivedEvent, startConsumer } from "#platform/inbox/consumer.worker.ts";
import { createPublisher } from "#platform/nats/publisher.ts";
import { ensureStream } from "#platform/nats/streams.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import type { OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { int8Array, sql, textArray } from "#platform/postgres/sql.ts";
import { systemClock as clock } from "#platform/time/clock.ts";
import { benchEvents, createBenchKit, perSecond } from "./event-bench-kit.ts";

// How fast a consumer turns events of a stream into a committed effect (the update of a row per key), against the same
// effect written in the same batches without stream and inbox.

const total = 60_000;
const batch = 1_000;
const type = "decentrastore.events.v1.ChunkStored";

await using kit = await createBenchKit();
const pool = await kit.pool("user_quota");
const publisherNats = await kit.connect("node-registry");
await ensureStream(publisherNats, "CHUNKS", {}, kit.log);
const nothing = z.strictObject({});
const events = benchEvents(total, "decentrastore.chunk.stored", type);
await pool.connect(async (connection) => {
  await connection.query(sql.type(nothing)`set role user_quota_owner`);
  await connection.query(sql.type(nothing)`create table user_quota.bench (key text primary key, sum bigint not null)`);
  await connection.query(sql.type(nothing)`grant select, insert, update on user_quota.bench to user_quota_app`);
  await connection.query(sql.type(nothing)`reset role`);
});
await seed(events.map(({ key }) => key));

const bareStart = clock.monotonicMs();
for (let start = 0; start < total; start += batch) {
  await pool.transaction((tx) => effect(tx, events.slice(start, start + batch)));
}
const bareMs = clock.monotonicMs() - bareStart;
console.log(`bare effect in batches of ${batch}:  ${perSecond(total, bareMs)}`);

await publish(events);
let applied = 0;
const finished = Promise.withResolvers<void>();
const startedAt = clock.monotonicMs();
const cpuAtStart = process.cpuUsage();
await using _consumer = startConsumer({
  ...{ nats: await kit.connect("user-quota"), pool, schema: "user_quota", stream: "CHUNKS" },
  ...{ durable: "user-quota-chunks", maxBatch: batch, clock, log: kit.log, metrics: createMetrics("bench") },
  signal: new AbortController().signal,
  apply: async (tx, received: readonly ReceivedEvent[], committing) => {
    await effect(tx, received);
    applied += received.length;
    committing.afterCommit(() => {
      if (applied >= total) finished.resolve();
    });
  },
});
await finished.promise;
const consumerMs = clock.monotonicMs() - startedAt;
const cpu = process.cpuUsage(cpuAtStart);
console.log(
  `consumer, stream to committed: ${perSecond(total, consumerMs)}, ratio ${(bareMs / consumerMs).toFixed(2)}`,
);

console.log(`consumer, CPU of this process: ${((cpu.user + cpu.system) / total).toFixed(1)} µs per event`);

async function effect(tx: Transaction, of: readonly { key: string }[]): Promise<void> {
  await tx.query(sql.type(nothing)`
    update user_quota.bench set sum = bench.sum + event.amount
    from unnest(${textArray(of.map(({ key }) => key))}, ${int8Array(of.map(() => 1n))}) as event (key, amount)
    where bench.key = event.key`);
}

async function seed(keys: readonly string[]): Promise<void> {
  for (let start = 0; start < keys.length; start += 5_000) {
    await pool.query(sql.type(nothing)`
      insert into user_quota.bench select key, 0 from unnest(${textArray(keys.slice(start, start + 5_000))}) as key`);
  }
}

async function publish(all: readonly OutboxEvent[]): Promise<void> {
  using publisher = createPublisher({ nats: publisherNats, clock });
  for (let start = 0; start < all.length; start += 2_000) {
    await Promise.all(
      all.slice(start, start + 2_000).map(async (event, index) => {
        const stored = Promise.withResolvers<void>();
        const { eventId, key, keyVersion, subject, payload } = event;
        const envelope = { eventId, type, source: "/decentrastore/bench", key, keyVersion };
        const headers = envelopeHeaders({ ...envelope, sequence: BigInt(start + index), time: clock.now() });
        publisher.publish({ subject, payload, headers }, () => stored.resolve());
        await stored.promise;
      }),
    );
  }
}
