import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { z } from "zod";
import { createTestDatabase, type TestDatabase } from "../testing/test-database.ts";
import { connectClient } from "./client.ts";
import type { Connection, Pool } from "./pool.ts";
import { sql, zVoid } from "./sql.ts";

const pidRow = sql.type(z.strictObject({ pid: z.int() }))`select pg_backend_pid() as pid`;
const pidOf = async (db: Connection) => (await db.one(pidRow)).pid;

/** Each holds its connection until all have one. */
async function pidsAtOnce(pool: Pool, count: number): Promise<number[]> {
  const all = Promise.withResolvers<void>();
  const pids: number[] = [];
  await Promise.all(
    Array.from({ length: count }, () =>
      pool.transaction(async (tx) => {
        if (pids.push(await pidOf(tx)) === count) all.resolve();
        await all.promise;
      }),
    ),
  );
  return pids;
}

async function backendsOf(db: TestDatabase): Promise<number> {
  const client = await connectClient(db.url(), { applicationName: "test" });
  try {
    const { rows } = await client.query(
      "select pid from pg_stat_activity where datname = $1 and usename = 'auth_app'",
      [db.name],
    );
    return rows.length;
  } finally {
    await client.end();
  }
}

test("what comes one after the other meets the same warm server process, and what comes at once one each", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth", { poolSize: 5, maxOverflow: 5 });
  const sequential = new Set<number>();
  for (let round = 0; round < 20; round += 1) {
    sequential.add(await pidOf(pool));
    sequential.add(await pool.transaction(pidOf));
  }
  expect(sequential.size).toBe(1);
  expect(new Set(await pidsAtOnce(pool, 8)).size).toBe(8);
  expect(new Set([await pidOf(pool), await pidOf(pool), await pool.transaction(pidOf)]).size).toBe(1);
});

test("a transaction ended by the server for idling takes no other one's connection with it", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth", { poolSize: 3, maxOverflow: 0 });
  // Now the places of the pool and the connections belong together no longer as they were made.
  for (const count of [3, 2, 3]) await pidsAtOnce(pool, count);
  const others = Promise.withResolvers<void>();
  const held = [1, 2].map(() =>
    pool.transaction(async (tx) => {
      const before = await pidOf(tx);
      await others.promise;
      expect(await pidOf(tx)).toBe(before);
    }),
  );
  await expect(
    pool.transaction(async (tx) => {
      await tx.query(sql.type(zVoid)`set local idle_in_transaction_session_timeout = 50`);
      await setTimeout(500);
      await tx.one(pidRow);
    }, 0),
  ).rejects.toThrow();
  others.resolve();
  await Promise.all(held);
  expect(new Set(await pidsAtOnce(pool, 3)).size).toBe(3);
});

test("a pool that ends leaves no connection behind", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("auth", { poolSize: 3, maxOverflow: 5 });
  await pidsAtOnce(pool, 7);
  expect(await backendsOf(db)).toBeGreaterThanOrEqual(7);
  await pool.end();
  await expect.poll(() => backendsOf(db), { timeout: 10_000 }).toBe(0);
});
