import { randomBytes, randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { z } from "zod";
import { ChunkStoredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { envelopeHeaders } from "#platform/events/envelope.ts";
import { startConsumer } from "#platform/inbox/consumer.worker.ts";
import { createPublisher } from "#platform/nats/publisher.ts";
import { ensureStream } from "#platform/nats/streams.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import { sql, uuidArray } from "#platform/postgres/sql.ts";
import { median } from "#platform/testing/median.ts";
import { systemClock as clock } from "#platform/time/clock.ts";
import { uuidv7 } from "#platform/time/uuid.ts";
import { onChunkFacts } from "../user-quota/charges/on-chunk-facts.event.ts";
import type { Deps } from "../user-quota/deps.ts";
import { createBenchKit, perSecond } from "./event-bench-kit.ts";
import { isShort, measured } from "./measured.ts";
import { postgresCpuMicros } from "./postgres-cpu.ts";
import { profiled } from "./profiled.ts";

// How many chunk.stored events per second become charges, from the stream to the committed ledger: spread over 100,000
// users, all of one user, and, as the baseline of the same run, events that only pass the inbox.
// Target: 15,000/s spread, and one user at least half of that. `--events=N` sets how many each kind gets.

const users = 100_000;
const eventsWord = process.argv.find((word) => word.startsWith("--events="));
const total = Number(eventsWord?.slice("--events=".length) ?? (isShort ? 30_000 : 90_000));
// Under --profile one, so that each profile is of one round.
const ROUNDS = isShort || process.env.BENCH_PROFILES !== undefined ? 1 : 3;
const nothing = z.strictObject({});

await using kit = await createBenchKit();
const pool = await kit.pool("user_quota");
const publisherNats = await kit.connect("node-registry");
await ensureStream(publisherNats, "CHUNKS", {}, kit.log);
const nats = await kit.connect("user-quota");
const { streams } = await (await kit.connect("operator")).connection.jetstreamManager();
const userIds = Array.from({ length: users }, () => randomUUID());
for (let start = 0; start < users; start += 5_000) {
  await pool.query(sql.type(nothing)`
    insert into user_quota.accounts (user_id, quota_set_at, created_at)
    select user_id, now(), now() from unnest(${uuidArray(userIds.slice(start, start + 5_000))}) as new (user_id)`);
}

const deps: Deps = {
  ...{ pool, outbox: createOutbox("user_quota"), clock, log: kit.log, metrics: createMetrics("bench") },
  registry: { getUserUsage: () => Promise.reject(new Error("not needed")) },
  chunkConsumption: () => Promise.reject(new Error("not needed")),
  defaultQuotaBytes: 10n * 2n ** 30n,
};

let sequence = 0n;
const results: Record<"inbox" | "spread" | "hot", number[]> = { inbox: [], spread: [], hot: [] };
const hotUser = userIds[0] ?? "";
// The first round warms up code and caches.
for (let round = 0; round <= ROUNDS; round += 1) {
  const name = round === 0 ? "warm-up" : `round ${round}`;
  const spreadUser = (index: number) => userIds[(index * 7919) % users] ?? "";
  const inbox = await measure(name, "inbox alone", spreadUser, false);
  const spread = await measure(name, "100,000 users", spreadUser, true);
  const hot = await measure(name, "one user", () => hotUser, true);
  if (round === 0) continue;
  results.inbox.push(inbox);
  results.spread.push(spread);
  results.hot.push(hot);
}
console.log(`spread against the inbox alone ${(median(results.spread) / median(results.inbox)).toFixed(2)}`);

measured(
  "consumeRate",
  results.spread.map((perMs) => perMs * 1_000),
);
measured(
  "consumeHot",
  results.hot.map((perMs, round) => perMs / (results.spread[round] ?? Number.NaN)),
);

async function measure(round: string, name: string, userOf: (index: number) => string, charges: boolean) {
  const count = round === "warm-up" ? total / 6 : total;
  // A consumer that starts goes back over the last 5,000 events of its predecessor, and none of them is counted.
  await streams.purge("CHUNKS");
  await publish(count, userOf);
  const consumed = () => consume(round, name, count, charges);
  return round === "warm-up" ? consumed() : profiled(`consume, ${name}`, count, consumed);
}

async function consume(round: string, name: string, count: number, charges: boolean) {
  const facts = onChunkFacts(deps);
  let applied = 0;
  const finished = Promise.withResolvers<void>();
  const signal = new AbortController().signal;
  const cpuBefore = process.cpuUsage();
  const databaseBefore = await postgresCpuMicros(pool);
  const startedAt = clock.monotonicMs();
  await using _consumer = startConsumer({
    ...{ nats, pool, clock, log: kit.log, metrics: deps.metrics, signal },
    ...{ schema: "user_quota", stream: "CHUNKS", durable: "user-quota-chunks" },
    apply: async (tx, events, batch) => {
      if (charges) await facts(tx, events, batch);
      batch.afterCommit(() => {
        applied += events.length;
        if (applied >= count) finished.resolve();
      });
    },
  });
  await finished.promise;
  const ms = clock.monotonicMs() - startedAt;
  const cpu = process.cpuUsage(cpuBefore);
  const cpuMicros = (cpu.user + cpu.system) / count;
  const databaseMicros = ((await postgresCpuMicros(pool)) - databaseBefore) / count;
  console.log(
    `${round}, ${name}: ${perSecond(count, ms)}; processor time per event: Node ${cpuMicros.toFixed(0)} µs, PostgreSQL ${databaseMicros.toFixed(0)} µs`,
  );
  return count / ms;
}

async function publish(count: number, userOf: (index: number) => string): Promise<void> {
  using publisher = createPublisher({ nats: publisherNats, clock });
  for (let start = 0; start < count; start += 2_000) {
    const batch = Array.from({ length: Math.min(2_000, count - start) }, (_item, index) => userOf(start + index));
    await Promise.all(batch.map((userId) => publishOne(publisher, userId)));
  }
}

function publishOne(publisher: ReturnType<typeof createPublisher>, userId: string): Promise<void> {
  sequence += 1n;
  const chunkHash = randomBytes(32).toString("hex");
  const payload = toBinary(
    ChunkStoredSchema,
    create(ChunkStoredSchema, {
      ...{ chunkHash, userId, uploadId: randomUUID(), generation: 1, sizeBytes: 262_144n, nodeId: chunkHash },
      ...{ confirmedReplicas: 2, wantedReplicas: 3, reachedQuorum: true },
    }),
  );
  const headers = envelopeHeaders({
    ...{ eventId: uuidv7(clock), type: ChunkStoredSchema.typeName, source: "/decentrastore/node-registry" },
    ...{ key: chunkHash, keyVersion: 1n, sequence, time: clock.now() },
  });
  const stored = Promise.withResolvers<void>();
  publisher.publish({ subject: `decentrastore.chunk.stored.${chunkHash}`, payload, headers }, (outcome) => {
    if (outcome.kind === "stored") stored.resolve();
    else stored.reject(new Error(`not stored: ${outcome.kind}`));
  });
  return stored.promise;
}
