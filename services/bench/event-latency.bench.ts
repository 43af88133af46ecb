import { z } from "zod";
import { startConsumer } from "#platform/inbox/consumer.worker.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox, transact } from "#platform/outbox/outbox.ts";
import { startRelay } from "#platform/outbox/relay.worker.ts";
import { sql, textArray } from "#platform/postgres/sql.ts";
import { systemClock as clock } from "#platform/time/clock.ts";
import { benchEvents, createBenchKit, percentile } from "./event-bench-kit.ts";

// From the moment an event is due in one service to its committed effect in another, at a steady rate that does not wait
// for slow ones; against a bare transaction that writes the same effect at the same rate.

const rate = 1_000;
const seconds = 10;
/** Events per transaction, as a node reports several chunks at once. */
const group = 10;

await using kit = await createBenchKit();
const source = await kit.pool("node_registry");
const target = await kit.pool("user_quota");
const nothing = z.strictObject({});
await target.connect(async (connection) => {
  await connection.query(sql.type(nothing)`set role user_quota_owner`);
  await connection.query(sql.type(nothing)`create table user_quota.bench (key text primary key)`);
  await connection.query(sql.type(nothing)`grant select, insert on user_quota.bench to user_quota_app`);
  await connection.query(sql.type(nothing)`reset role`);
});

const bare = await steady(async (index) => {
  await target.transaction((tx) =>
    effect(
      tx,
      Array.from({ length: group }, (_, one) => `bare ${index} ${one}`),
    ),
  );
});
report("bare transaction", bare);

const outbox = createOutbox("node_registry");
const arrived = new Map<string, () => void>();
const shared = { clock, log: kit.log, signal: new AbortController().signal };
await using _relay = startRelay({
  ...{ ...shared, pool: source, schema: "node_registry", nats: await kit.connect("node-registry"), outbox },
  ...{ streams: ["CHUNKS"], metrics: createMetrics("node-registry") },
});
await using _consumer = startConsumer({
  ...{ ...shared, pool: target, schema: "user_quota", nats: await kit.connect("user-quota") },
  ...{ stream: "CHUNKS", durable: "user-quota-chunks", metrics: createMetrics("user-quota") },
  apply: async (tx, events, batch) => {
    const keys = events.map(({ key }) => key);
    await effect(tx, keys);
    batch.afterCommit(() => {
      for (const key of keys) arrived.get(key)?.();
    });
  },
});
await send(benchEvents(1, "decentrastore.chunk.stored", "decentrastore.events.v1.ChunkStored")); // both are ready

const events = benchEvents(rate * seconds, "decentrastore.chunk.stored", "decentrastore.events.v1.ChunkStored");
const whole = await steady((index) => send(events.slice(index, index + group)));
report("outbox, relay, stream, inbox, effect", whole);

/** Resolves when the effects are committed. */
async function send(batch: ReturnType<typeof benchEvents>): Promise<void> {
  const effects = batch.map(({ key }) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    arrived.set(key, resolve);
    return promise;
  });
  await transact({ pool: source, outbox }, (tx) => outbox.append(tx, batch));
  await Promise.all(effects);
}

async function effect(tx: Parameters<Parameters<typeof target.transaction>[0]>[0], keys: readonly string[]) {
  await tx.query(sql.type(nothing)`
    insert into user_quota.bench select key from unnest(${textArray(keys)}) as key on conflict do nothing`);
}

async function steady(work: (index: number) => Promise<void>): Promise<number[]> {
  const delays: number[] = [];
  const running: Promise<void>[] = [];
  const from = clock.monotonicMs();
  for (let index = 0; index < rate * seconds; index += group) {
    const due = from + (index * 1_000) / rate;
    if (due > clock.monotonicMs()) await clock.sleep(due - clock.monotonicMs());
    running.push(work(index).then(() => void delays.push(clock.monotonicMs() - due)));
  }
  await Promise.all(running);
  return delays.toSorted((a, b) => a - b);
}

function report(what: string, delays: readonly number[]): void {
  const text = [50, 99, 99.9].map((percent) => `p${percent} ${percentile(delays, percent).toFixed(1)} ms`).join(", ");
  console.log(`${what} at ${rate}/s, ${group} a transaction: ${text}`);
}
