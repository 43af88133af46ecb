import { expect, test } from "vitest";
import { z } from "zod";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { pruneNodeHistory } from "./node-state.store.ts";

/** Changes of the last ten days, and of the ten days before they are too old to be kept. */
async function seedHistory(owner: Pool, { old, young }: { old: number; young: number }): Promise<void> {
  await owner.query(sql.unsafe`
    insert into node_registry.node_history (occurred_at, kind)
    select now() - interval '40 days' + n * interval '10 days' / ${old}, 'sweep' from generate_series(1, ${old}) n
    union all
    select now() - interval '10 days' + n * interval '10 days' / ${young}, 'sweep' from generate_series(1, ${young}) n`);
  await owner.query(sql.unsafe`vacuum analyze node_registry.node_history`);
}

test("history older than a month goes in batches, and nothing else does", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  await seedHistory(await db.pool("node_registry", { url: db.url("superuser") }), { old: 25_000, young: 1_000 });
  const dropped = [];
  for (let round = 0; round < 4; round += 1) dropped.push(await pruneNodeHistory(pool));
  expect(dropped).toEqual([10_000n, 10_000n, 5_000n, 0n]);
  const kept = await pool.oneFirst(sql.type(z.strictObject({ kept: zInt8 }))`
    select count(*) as kept from node_registry.node_history`);
  expect(kept).toBe(1_000n);
});

test("where no history is too old, the look for it does not read the table", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  await seedHistory(await db.pool("node_registry", { url: db.url("superuser") }), { old: 1, young: 100_000 });
  await pruneNodeHistory(pool);
  const read = await pool.transaction(async (tx) => {
    expect(await pruneNodeHistory(tx)).toBe(0n);
    return tx.oneFirst(sql.type(z.strictObject({ read: zInt8 }))`
      select seq_tup_read as read from pg_stat_xact_user_tables where relname = 'node_history'`);
  });
  expect(read).toBe(0n);
});
