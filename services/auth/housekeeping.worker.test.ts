import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { createLogger } from "#platform/log/logger.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zVoid } from "#platform/postgres/sql.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { cleanOnce } from "./housekeeping.worker.ts";

let db: TestDatabase;
let pool: Pool;
const clock = new ManualClock();
const log = createLogger("auth", "silent");

beforeAll(async () => {
  db = await createTestDatabase();
  pool = await db.pool("auth");
});

afterAll(() => db[Symbol.asyncDispose]());

const left = z.strictObject({ throttles: z.int(), rates: z.int() });
const rowsLeft = () =>
  pool.one(sql.type(left)`
    select (select count(*)::integer from auth.login_throttles) throttles,
      (select count(*)::integer from auth.rate_limits) rates`);

async function fill(rows: number): Promise<void> {
  await pool.query(sql.type(zVoid)`
    insert into auth.login_throttles (key, failures, last_failure_at)
    select sha256(n::text::bytea), 1, '2000-01-01' from generate_series(1, ${rows}::integer) n`);
  await pool.query(sql.type(zVoid)`
    insert into auth.rate_limits (key, full_at)
    select sha256(n::text::bytea), '2000-01-01' from generate_series(1, ${rows}::integer) n`);
}

/** Holds the locks of a statement on a connection of its own while `work` runs. */
async function during(locking: ReturnType<typeof sql.fragment>, work: () => Promise<void>): Promise<void> {
  const [locked, done] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const holding = pool.transaction(async (tx) => {
    await tx.query(sql.type(zVoid)`${locking}`);
    locked.resolve();
    await done.promise;
  });
  await Promise.race([locked.promise, holding]);
  try {
    await work();
  } finally {
    done.resolve();
    await holding;
  }
}

test("more than a batch is removed in one round, but for what a login is using", async () => {
  await fill(10_005);
  await during(sql.fragment`select from auth.login_throttles where key = sha256('7'::bytea) for update`, async () => {
    await cleanOnce({ pool, clock, log });
    expect(await rowsLeft()).toEqual({ throttles: 1, rates: 0 });
  });
  await cleanOnce({ pool, clock, log });
  expect(await rowsLeft()).toEqual({ throttles: 0, rates: 0 });
});

test("where old sessions cannot be removed, the rest is", async () => {
  await fill(3);
  const impatient = await db.pool("auth", { statementTimeoutMs: 1_000 });
  await during(sql.fragment`lock table auth.sessions in access exclusive mode`, async () => {
    await cleanOnce({ pool: impatient, clock, log });
    expect(await rowsLeft()).toEqual({ throttles: 0, rates: 0 });
  });
});
