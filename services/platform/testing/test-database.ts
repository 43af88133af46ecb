import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { inject } from "vitest";
import type { Schema } from "../config/service-config.ts";
import { createLogger } from "../log/logger.ts";
import { openPool, type Pool, type PoolOptions } from "../postgres/pool.ts";

export type TestRole = "superuser" | `${Schema}_app` | `${Schema}_owner`;

export interface TestDatabase extends AsyncDisposable {
  readonly name: string;
  url(role?: TestRole): string;
  /** A pool of a service's application role; it is closed with the database. */
  pool(schema: Schema, options?: Partial<PoolOptions>): Promise<Pool>;
}

/** Tests log nothing unless TEST_LOG_LEVEL says so. */
export function createTestLogger(name = "test") {
  return createLogger(name, process.env.TEST_LOG_LEVEL ?? "silent");
}

/**
 * A database of the test's own with all schemas, or with none: `await using db = await createTestDatabase()`. Takes
 * about 25 ms.
 */
export async function createTestDatabase(options: { isEmpty?: boolean } = {}): Promise<TestDatabase> {
  const server = inject("testServer");
  const name = `test_${randomBytes(6).toString("hex")}`;
  await asSuperuser(`create database ${name} template ${options.isEmpty ? "template1" : server.template}`);
  // A clone has no rights of its template on the level of the database.
  await asSuperuser(`revoke temporary on database ${name} from public`);
  const pools: Pool[] = [];
  const url = (role: TestRole = "superuser") => {
    const target = new URL(server.superuserUrl);
    target.pathname = `/${name}`;
    if (role === "superuser") return target.href;
    target.username = role;
    target.password = server.rolePassword;
    return target.href;
  };
  return {
    name,
    url,
    pool: async (schema, options = {}) => {
      const failure = server.failures[schema];
      if (failure !== undefined) throw new Error(`the migrations of ${schema} fail: ${failure}`);
      const log = createTestLogger(schema);
      const pool = await openPool({ url: url(`${schema}_app`), schema, log, poolSize: 2, maxOverflow: 8, ...options });
      pools.push(pool);
      return pool;
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(pools.map((pool) => pool.end()));
      await asSuperuser(`drop database if exists ${name} with (force)`);
    },
  };
}

/** Cloning needs the template for itself, so that clones of several files at once wait for each other. */
async function asSuperuser(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: inject("testServer").superuserUrl.replace(/[^/]+$/, "postgres") });
  await client.connect();
  try {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await client.query(statement);
        return;
      } catch (error) {
        const isBusy = error instanceof Error && /being accessed by other users/.test(error.message);
        if (!isBusy || attempt >= 200) throw error;
        await delay(10 + Math.random() * 20);
      }
    }
  } finally {
    await client.end();
  }
}
