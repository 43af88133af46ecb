import { randomUUID } from "node:crypto";
import pg from "pg";
import { createLogger } from "#platform/log/logger.ts";
import { migrate } from "#platform/migrations/migrate.ts";
import { connectNats, type Nats } from "#platform/nats/connect.ts";
import type { OutboxEvent } from "#platform/outbox/outbox.ts";
import { openPool, type Pool } from "#platform/postgres/pool.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { systemClock } from "#platform/time/clock.ts";
import { uuidv7 } from "#platform/time/uuid.ts";
import { startEmbeddedPostgres } from "../dev/embedded-postgres.ts";

/** A PostgreSQL that syncs to disk and a nats-server, both in temporary folders. */
export interface BenchKit extends AsyncDisposable {
  broker: TestNats;
  log: ReturnType<typeof createLogger>;
  pool(schema: "auth" | "user_quota" | "node_registry"): Promise<Pool>;
  connect(user: string): Promise<Nats>;
  /** A bare connection of the driver, as superuser. */
  bare(): Promise<pg.Client>;
}

export async function createBenchKit(): Promise<BenchKit> {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(createTempFolder());
  const server = stack.use(await startEmbeddedPostgres({ folder: folder.path }));
  await migrate({ url: server.url, schemas: ["auth", "user_quota", "node_registry"], onProgress: () => {} });
  const broker = stack.use(await startTestNats());
  const log = createLogger("bench", process.env.LOG_LEVEL ?? "error");
  return {
    broker,
    log,
    pool: async (schema) => {
      const pool = await openPool({ url: server.url, schema, log, assumeRole: true });
      stack.defer(() => pool.end());
      return pool;
    },
    bare: async () => {
      const client = new pg.Client({ connectionString: server.url });
      await client.connect();
      stack.defer(() => client.end());
      return client;
    },
    connect: async (user) => stack.use(await connectNats({ url: broker.url(user), name: "bench", log })),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The first event of each of so many keys, of about the size of a `ChunkStored`. */
export function benchEvents(count: number, prefix: string, type: string): OutboxEvent[] {
  return Array.from({ length: count }, () => {
    const key = `${randomUUID()}${randomUUID()}`.replaceAll("-", "");
    const payload = new Uint8Array(300).fill(7);
    const subject = `${prefix}.${key}`;
    return { eventId: uuidv7(systemClock), subject, key, keyVersion: 1n, type, payload };
  });
}

export function perSecond(count: number, ms: number): string {
  return `${Math.round((count / ms) * 1000).toLocaleString("en")}/s`;
}

export function percentile(sorted: readonly number[], percent: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? 0;
}
