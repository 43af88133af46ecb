import { expect, test, vi } from "vitest";
import { z } from "zod";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zInstant } from "#platform/postgres/sql.ts";
import { createTestDatabase, createTestLogger } from "#platform/testing/test-database.ts";
import { systemClock } from "#platform/time/clock.ts";
import { createNodeTable } from "../directory/node-table.ts";
import { startSweeper } from "./sweeper.worker.ts";
import { livenessTimes } from "./times.ts";

const times = livenessTimes(2_000);

/** Answers what stops it, and resolves when the round that was under way has ended. */
function sweep(pool: Pool, unwritten: ReadonlySet<bigint> = new Set()) {
  const stop = new AbortController();
  const deps = { pool, outbox: createOutbox("node_registry"), clock: systemClock, view: createNodeTable() };
  const tools = { log: createTestLogger(), metrics: createMetrics("test", { withProcess: false }) };
  const running = startSweeper({ ...deps, ...tools, unwritten: () => unwritten }, times, stop.signal);
  return () => {
    stop.abort();
    return running;
  };
}

const insertNode = (name = "x") => sql.unsafe`
  with node as (
    insert into node_registry.storage_nodes (node_id, address_host, address_port, capacity_gb)
    values (sha256(${name}::text::bytea), 'example.org', 1, 1) returning id
  )
  insert into node_registry.node_leases (node_row_id, liveness, last_beat)
  select id, 'online', node_registry.lease_clock() + interval '1 hour' from node`;
const silence = sql.unsafe`
  update node_registry.node_leases set last_beat = node_registry.lease_clock() - interval '10 seconds'`;

function livenessIn(pool: Pool) {
  return pool.oneFirst(sql.type(z.strictObject({ liveness: z.string() }))`
    select liveness from node_registry.node_leases`);
}

/** A round has ended since, and the warm-up before. */
async function swept(pool: Pool): Promise<void> {
  await vi.waitFor(async () => {
    expect(
      await pool.exists(sql.unsafe`
        select from node_registry.sweep_state where warm_until < node_registry.lease_clock() and swept_at > warm_until`),
    ).toBe(true);
  }, 20_000);
}

test("a node whose heartbeat was answered and is not written yet is not called silent", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  const owner = await db.pool("node_registry", { url: db.url("superuser") });
  await owner.query(insertNode());
  const rowId = await pool.oneFirst(sql.type(z.strictObject({ id: z.bigint() }))`
    select id from node_registry.storage_nodes`);
  const answered = new Set([rowId]);
  const stop = sweep(pool, answered);
  await swept(pool);
  await owner.query(silence);
  const at = await pool.oneFirst(sql.type(z.strictObject({ now: zInstant }))`select clock_timestamp() as now`);
  await vi.waitFor(async () => {
    expect(
      await pool.exists(sql.unsafe`
        select from node_registry.sweep_state where swept_at > ${at.add({ seconds: 1 }).toString()}::timestamptz`),
    ).toBe(true);
  }, 20_000);
  expect(await livenessIn(pool)).toBe("online");
  answered.clear();
  await vi.waitFor(async () => expect(await livenessIn(pool)).toBe("offline"), 20_000);
  await stop();
}, 120_000);

test("a sweeper whose lease is taken over in the middle of a round writes nothing, and its successor does", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  const owner = await db.pool("node_registry", { url: db.url("superuser") });
  const sweptAt = () =>
    owner.oneFirst(sql.type(z.strictObject({ swept_at: zInstant.nullable() }))`
    select swept_at from node_registry.sweep_state`);
  await owner.query(insertNode());
  const stopFirst = sweep(pool);
  await swept(pool);

  const before = await owner.transaction(async (tx) => {
    await tx.query(sql.unsafe`lock table node_registry.sweep_state in access exclusive mode`);
    // Every round begins with a look at it.
    await vi.waitFor(async () => {
      expect(
        await tx.exists(sql.unsafe`
        select from pg_locks where relation = 'node_registry.sweep_state'::regclass and not granted`),
      ).toBe(true);
    }, 20_000);
    await tx.query(silence);
    await tx.query(sql.unsafe`
      update node_registry.leases set holder = gen_random_uuid(), epoch = epoch + 1, expires_at = now() + interval '1 hour'
      where name = 'sweeper'`);
    return tx.oneFirst(sql.type(z.strictObject({ swept_at: zInstant.nullable() }))`
      select swept_at from node_registry.sweep_state`);
  });
  await stopFirst();
  expect(await livenessIn(pool)).toBe("online");
  expect(await sweptAt()).toEqual(before);

  await owner.query(sql.unsafe`update node_registry.leases set expires_at = now() - interval '1 second'`);
  const stopSecond = sweep(pool);
  await vi.waitFor(async () => expect(await livenessIn(pool)).toBe("offline"), 20_000);
  await stopSecond();
}, 120_000);

test("a node that somebody has locked keeps no other one from being called silent, and follows", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  const owner = await db.pool("node_registry", { url: db.url("superuser") });
  await owner.query(insertNode());
  await owner.query(insertNode("y"));
  const locked = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  const stop = sweep(pool);
  await swept(pool);
  const locking = owner.transaction(async (tx) => {
    await tx.query(sql.unsafe`set local idle_in_transaction_session_timeout = 0`);
    await tx.query(sql.unsafe`
      select from node_registry.storage_nodes where node_id = sha256('x') for no key update`);
    locked.resolve();
    await ended.promise;
  });
  await locked.promise;
  await pool.query(silence);
  const expectLivenesses = (expected: string[]) =>
    vi.waitFor(async () => {
      const found = await pool.anyFirst(sql.type(z.strictObject({ liveness: z.string() }))`
        select liveness from node_registry.node_leases order by node_row_id`);
      expect(found).toEqual(expected);
    }, 20_000);
  await expectLivenesses(["online", "offline"]);
  ended.resolve();
  await locking;
  await expectLivenesses(["offline", "offline"]);
  await stop();
}, 120_000);
