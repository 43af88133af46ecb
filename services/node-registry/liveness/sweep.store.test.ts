import { expect, test } from "vitest";
import { sql } from "#platform/postgres/sql.ts";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { clampToClock, haltSweep, releaseSweep, selectSweepState } from "./sweep.store.ts";

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
