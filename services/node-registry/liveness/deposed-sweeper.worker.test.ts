import { expect, test, vi } from "vitest";
import { z } from "zod";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import { sql, zInstant } from "#platform/postgres/sql.ts";
import { createTestDatabase, createTestLogger } from "#platform/testing/test-database.ts";
import { systemClock } from "#platform/time/clock.ts";
import { createNodeTable } from "../directory/node-table.ts";
import { startSweeper } from "./sweeper.worker.ts";
import { livenessTimes } from "./times.ts";

const times = livenessTimes(2_000);

test("a sweeper whose lease is taken over in the middle of a round writes nothing, and its successor does", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  const owner = await db.pool("node_registry", { url: db.url("superuser") });
  const sweeper = () => {
    const stop = new AbortController();
    const deps = { pool, outbox: createOutbox("node_registry"), clock: systemClock, view: createNodeTable() };
    const tools = { log: createTestLogger(), metrics: createMetrics("test", { withProcess: false }) };
    const running = startSweeper({ ...deps, ...tools }, times, stop.signal);
    // Resolves when the round that was under way has ended.
    return () => {
      stop.abort();
      return running;
    };
  };
  const liveness = () =>
    pool.oneFirst(sql.type(z.strictObject({ liveness: z.string() }))`
    select liveness from node_registry.node_leases`);
  const sweptAt = () =>
    owner.oneFirst(sql.type(z.strictObject({ swept_at: zInstant.nullable() }))`
    select swept_at from node_registry.sweep_state`);
  await owner.query(sql.unsafe`
    with node as (
      insert into node_registry.storage_nodes (node_id, address_host, address_port, capacity_gb)
      values (sha256('x'), 'example.org', 1, 1) returning id
    )
    insert into node_registry.node_leases (node_row_id, liveness, last_beat)
    select id, 'online', node_registry.lease_clock() + interval '1 hour' from node`);
  const stopFirst = sweeper();
  await vi.waitFor(async () => {
    expect(
      await pool.exists(sql.unsafe`
      select from node_registry.sweep_state where warm_until < node_registry.lease_clock() and swept_at > warm_until`),
    ).toBe(true);
  }, 20_000);

  const before = await owner.transaction(async (tx) => {
    await tx.query(sql.unsafe`lock table node_registry.sweep_state in access exclusive mode`);
    // Every round begins with a look at it.
    await vi.waitFor(async () => {
      expect(
        await tx.exists(sql.unsafe`
        select from pg_locks where relation = 'node_registry.sweep_state'::regclass and not granted`),
      ).toBe(true);
    }, 20_000);
    await tx.query(sql.unsafe`
      update node_registry.node_leases set last_beat = node_registry.lease_clock() - interval '10 seconds'`);
    await tx.query(sql.unsafe`
      update node_registry.leases set holder = gen_random_uuid(), epoch = epoch + 1, expires_at = now() + interval '1 hour'
      where name = 'sweeper'`);
    return tx.oneFirst(sql.type(z.strictObject({ swept_at: zInstant.nullable() }))`
      select swept_at from node_registry.sweep_state`);
  });
  await stopFirst();
  expect(await liveness()).toBe("online");
  expect(await sweptAt()).toEqual(before);

  await owner.query(sql.unsafe`update node_registry.leases set expires_at = now() - interval '1 second'`);
  const stopSecond = sweeper();
  await vi.waitFor(async () => expect(await liveness()).toBe("offline"), 20_000);
  await stopSecond();
}, 120_000);
