import { expect, test } from "vitest";
import { z } from "zod";
import { sql } from "#platform/postgres/sql.ts";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { isMassFailure } from "./brake.ts";
import { clampToClock, countOverdue, haltSweep, releaseSweep, selectSweepState } from "./sweep.store.ts";

const LEASE_MS = 60_000;
const found = { expired: 6, silent: 6, recentlyOffline: 0, online: 10 };

test("a brake and a release from before the clock went back end in their time", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  const owner = await db.pool("node_registry", { url: db.url("superuser") });
  await clampToClock(pool, LEASE_MS);
  expect(await selectSweepState(pool)).toMatchObject({ halted_at: null, released_until: null });
  await releaseSweep(pool, LEASE_MS);
  await haltSweep(pool, found);
  await owner.query(sql.unsafe`
    create or replace function node_registry.lease_clock() returns timestamptz language sql volatile parallel safe
    as ${sql.literalValue("select clock_timestamp() - interval '2 hours'")}`);
  await clampToClock(pool, LEASE_MS);
  const { now, halted_at, released_until } = await selectSweepState(pool);
  expect(halted_at?.since(now).total("seconds")).toBeLessThanOrEqual(0);
  expect(released_until?.since(now).total("seconds")).toBeLessThanOrEqual(LEASE_MS / 1_000);
});

test("nodes that left before the clock went back have left one after the other, and not all a moment ago", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  const owner = await db.pool("node_registry", { url: db.url("superuser") });
  const round = { leaseTtlMs: LEASE_MS, suspectAfterMs: LEASE_MS / 2, offlineAfterMs: LEASE_MS };
  const overdue = async () => countOverdue(pool, { ...round, now: (await selectSweepState(pool)).now });
  // The first six left within ten minutes, a tenth is silent.
  await pool.query(sql.unsafe`
    with node as (
      insert into node_registry.storage_nodes (node_id, address_host, address_port, capacity_gb)
      select sha256(name::text::bytea), 'example.org', 1, 1 from generate_series(1, 10) as name returning id
    )
    insert into node_registry.node_leases (node_row_id, liveness, liveness_since, last_beat)
    select id, case when position <= 6 then 'offline' else 'online' end,
      clock_timestamp() - position * interval '100 seconds', clock_timestamp() - interval '3 hours'
    from (select id, row_number() over () as position from node) as numbered`);
  await owner.query(sql.unsafe`
    create or replace function node_registry.lease_clock() returns timestamptz language sql volatile parallel safe
    as ${sql.literalValue("select clock_timestamp() - interval '2 hours'")}`);
  expect(isMassFailure(await overdue())).toBe(true);
  await clampToClock(pool, LEASE_MS);
  const found = await overdue();
  expect(found).toEqual({ expired: 4, silent: 4, recentlyOffline: 1, online: 5 });
  const { spread } = await pool.one(sql.type(z.strictObject({ spread: z.number() }))`
    select extract(epoch from max(liveness_since) - min(liveness_since))::float8 as spread
    from node_registry.node_leases where liveness = 'offline'`);
  expect(spread).toBeCloseTo(500, 1);
});
