import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { QuotaThresholdSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { startConsumer } from "#platform/inbox/consumer.worker.ts";
import { listDeadLetters, requeueDeadLetter } from "#platform/inbox/dead-letters.ts";
import { connectNats } from "#platform/nats/connect.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";
import {
  querySuperuser,
  startWorkerProcess,
  streamContent,
  type WorkerProcess,
  eventually as within,
} from "#platform/testing/event-kit.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { systemClock } from "#platform/time/clock.ts";
import { onChunkFacts } from "./charges/on-chunk-facts.event.ts";
import { anyHash, chunkReleased, chunkStored } from "./testing/events.ts";
import { noRegistry } from "./testing/fixture.ts";
import { expectSoundBooks } from "./testing/invariants.ts";
import { type ChunkStream, openChunkStream } from "./testing/stream.ts";

// Processes start and JetStream answers slowly where many tests share two processors.
const PATIENCE_MS = 60_000;
const TIMEOUT_MS = 2 * PATIENCE_MS;

let db: TestDatabase;
let broker: TestNats;
let stream: ChunkStream;
let pool: Pool;
beforeAll(async () => {
  const stack = new AsyncDisposableStack();
  db = stack.use(await createTestDatabase());
  broker = stack.use(await startTestNats());
  stream = stack.use(await openChunkStream(broker));
  pool = await db.pool("user_quota");
  return () => stack.disposeAsync();
});

function startProcess(): Promise<WorkerProcess> {
  return startWorkerProcess(join(import.meta.dirname, "main.ts"), {
    PORT: "0",
    OPS_PORT: "0",
    LOG_LEVEL: process.env.TEST_LOG_LEVEL ?? "warn",
    USER_QUOTA_DATABASE_URL: db.url("user_quota_app"),
    NATS_URL: broker.url("user-quota"),
    SERVICE_CLIENT_ID: "user-quota",
    SERVICE_CLIENT_SECRET: "secret",
    RECONCILE_INTERVAL: "0",
  });
}

function eventually(look: () => Promise<boolean>, what: string): Promise<void> {
  return within(() => look().catch(() => false), what, PATIENCE_MS);
}

const usedRow = z.strictObject({ used: z.bigint() });

async function usedBytes(userIds: readonly string[]): Promise<bigint> {
  const row = await pool.one(sql.type(usedRow)`
    select coalesce(sum(storage_used_bytes), 0)::bigint as used
    from user_quota.accounts where user_id = any(${sql.array(userIds, "uuid")})`);
  return row.used;
}

test(
  "kill -9 of user-quota and of NATS, again and again, loses and doubles nothing",
  async () => {
    const users = Array.from({ length: 40 }, () => randomUUID());
    const published: Promise<void>[] = [];
    const publishSome = () => {
      const chunks = Array.from({ length: 500 }, (_item, index) => ({
        userId: users[index % users.length] ?? "",
        chunkHash: anyHash(),
      }));
      const stored = chunks.map(({ userId, chunkHash }) => chunkStored(userId, 10n, { chunkHash }));
      const gone = chunks.slice(0, 100).map(({ userId, chunkHash }) => chunkReleased(userId, chunkHash, 10n));
      published.push(stream.publish([...stored, ...stored.slice(0, 50), ...gone]));
    };
    for (let round = 0; round < 3; round += 1) {
      const before = await usedBytes(users);
      publishSome();
      await using quota = await startProcess();
      await eventually(async () => (await usedBytes(users)) !== before, `round ${round} applies something`);
      if (round === 1) {
        await broker.kill();
        await broker.start();
      }
      await quota.kill("SIGKILL");
      await expectSoundBooks(pool);
    }
    await Promise.all(published);
    await using _last = await startProcess();
    await eventually(async () => (await usedBytes(users)) === 3n * 400n * 10n, "everything is applied");
    await expectSoundBooks(pool);
  },
  TIMEOUT_MS,
);

test(
  "an event that cannot be applied ends among the dead letters with its cause, and is applied once it is requeued",
  async () => {
    await using stack = new AsyncDisposableStack();
    const log = createTestLogger("user-quota");
    const connect = async (user: string) => stack.use(await connectNats({ url: broker.url(user), name: user, log }));
    const [nats, operator] = [await connect("user-quota"), await connect("operator")];
    const deps = {
      pool,
      outbox: createOutbox("user_quota"),
      clock: systemClock,
      log,
      metrics: createMetrics("user-quota"),
    };
    const apply = onChunkFacts({ ...deps, ...noRegistry, defaultQuotaBytes: 1_000n });
    const signal = new AbortController().signal;
    const options = { schema: "user_quota", stream: "CHUNKS", durable: "user-quota-chunks", retryDelayMs: 1 } as const;
    stack.use(startConsumer({ ...deps, apply, ...options, nats, signal }));
    const [userId, refused] = [randomUUID(), randomUUID()];
    // Until an operator takes this rule away, facts of one user cannot be written.
    await querySuperuser(
      db,
      `alter table user_quota.charges add constraint test check (user_id <> '${refused}') not valid`,
    );
    const poison = chunkStored(userId, 0n);
    await stream.publish([chunkStored(userId, 10n), poison, chunkStored(refused, 10n), chunkStored(userId, 10n)]);
    await eventually(async () => (await usedBytes([userId])) === 20n, "the others go on");
    await eventually(async () => (await listDeadLetters(operator)).length === 2, "both are given up");
    const letters = await listDeadLetters(operator, { consumer: "user-quota-chunks" });
    const hopeless = letters.find((letter) => letter.eventId === poison.eventId);
    expect(hopeless?.cause).toContain("size_bytes is not positive");
    await querySuperuser(db, "alter table user_quota.charges drop constraint test");
    for (const { sequence, eventId } of letters) {
      if (eventId !== poison.eventId) await requeueDeadLetter(operator, sequence);
    }
    await eventually(async () => (await usedBytes([refused])) === 10n, "the requeued event is applied");
    await expectSoundBooks(pool);
  },
  TIMEOUT_MS,
);

test(
  "a crossed threshold is published for the subscribers, once",
  async () => {
    await using _quota = await startProcess();
    await using operator = await connectNats({ url: broker.url("operator"), name: "reader", log: createTestLogger() });
    const userId = randomUUID();
    const chunk = chunkStored(userId, 9_000_000_000n);
    await stream.publish([chunk, chunkStored(userId, 1_000_000_000n)]);
    const announced = async () => {
      const messages = await streamContent(operator, "QUOTAS").catch(() => []);
      return messages
        .map((message) => fromBinary(QuotaThresholdSchema, message.payload))
        .filter((threshold) => threshold.userId === userId);
    };
    await eventually(async () => (await announced()).length === 2, "both thresholds are published");
    expect(await announced()).toMatchObject([
      { thresholdPercent: 80, storageUsedBytes: 9_000_000_000n, storageQuotaBytes: 10_737_418_240n },
      { thresholdPercent: 90, storageUsedBytes: 10_000_000_000n, storageQuotaBytes: 10_737_418_240n },
    ]);
    await expectSoundBooks(pool);
  },
  TIMEOUT_MS,
);

test(
  "a process that is told to stop ends cleanly, and the next one goes on where it ended",
  async () => {
    const userId = randomUUID();
    const first = await startProcess();
    await stream.publish([chunkStored(userId, 10n)]);
    await eventually(async () => (await usedBytes([userId])) === 10n, "the first is applied");
    await first.kill("SIGTERM");
    expect(first.process.exitCode).toBe(0);
    await stream.publish([chunkStored(userId, 10n)]);
    await using _second = await startProcess();
    await eventually(async () => (await usedBytes([userId])) === 20n, "the second is applied");
  },
  TIMEOUT_MS,
);
