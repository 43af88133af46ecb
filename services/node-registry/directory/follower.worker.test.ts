import { expect, test, vi } from "vitest";
import { sql } from "#platform/postgres/sql.ts";
import { createTestDatabase, createTestLogger } from "#platform/testing/test-database.ts";
import { systemClock } from "#platform/time/clock.ts";
import { createChangeRing } from "./change-ring.ts";
import { startFollower } from "./follower.worker.ts";
import { createNodeTable } from "./node-table.ts";

const addNode = (name: string) => sql.unsafe`
  with node as (
    insert into node_registry.storage_nodes (node_id, address_host, address_port, capacity_gb)
    values (sha256(${name}::text::bytea), ${name}, 1, 1) returning id, node_id
  ), lease as (
    insert into node_registry.node_leases (node_row_id) select id from node
  ), head as (
    update node_registry.directory_head set revision = revision + 1 returning revision
  )
  insert into node_registry.directory_changes (revision, node_row_id, node_id, node)
  select head.revision, node.id, node.node_id, '\\x00' from head, node`;

test("nodes that left while a view was cut off are gone from it, also where the log has nothing to say any more", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  for (const name of ["stays", "leaves"]) await pool.query(addNode(name));
  const view = createNodeTable();
  const ring = createChangeRing(100);
  const deps = { pool, clock: systemClock, log: createTestLogger(), view, ring, figuresPeriodMs: () => undefined };
  await using follower = await startFollower({ ...deps, compareEveryMs: 50 }, new AbortController().signal);
  expect(view.candidates()).toHaveLength(2);

  await pool.transaction(async (tx) => {
    await tx.query(
      sql.unsafe`update node_registry.storage_nodes set state = 'deregistered' where address_host = 'leaves'`,
    );
    await tx.query(addNode("joins"));
    await tx.query(sql.unsafe`update node_registry.directory_head set revision = revision + 1`);
    await tx.query(sql.unsafe`delete from node_registry.directory_changes`);
    await tx.query(sql.unsafe`update node_registry.directory_head set compacted_revision = revision`);
  });
  await follower.caughtUp(AbortSignal.timeout(20_000));
  expect(view.candidates().map((node) => node.address.host)).toEqual(["stays", "joins"]);
  expect([ring.compacted, ring.head, view.revision]).toEqual([4n, 4n, 4n]);
  expect(ring.at(2n)).toBeUndefined();
});

test("a view that was cut off for longer than changes are kept reads everything anew", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  await pool.query(addNode("first"));
  const view = createNodeTable();
  const ring = createChangeRing(100);
  const deps = { pool, clock: systemClock, log: createTestLogger(), view, ring, figuresPeriodMs: () => 10 };
  await using _follower = await startFollower(deps, new AbortController().signal);
  expect(view.candidates().map((node) => node.address.host)).toEqual(["first"]);
  expect([ring.compacted, ring.head]).toEqual([0n, 1n]);

  await pool.query(addNode("second"));
  await vi.waitFor(() => expect(view.candidates()).toHaveLength(2), 20_000);

  await pool.transaction(async (tx) => {
    await tx.query(addNode("missed"));
    await tx.query(sql.unsafe`delete from node_registry.directory_changes`);
    await tx.query(sql.unsafe`update node_registry.directory_head set compacted_revision = revision`);
    await tx.query(addNode("fourth"));
  });
  await vi.waitFor(() => {
    expect(view.candidates().map((node) => node.address.host)).toEqual(["first", "second", "missed", "fourth"]);
    expect([ring.compacted, ring.head, view.revision]).toEqual([3n, 4n, 4n]);
  }, 20_000);

  // Figures come without a change, from leases that another process writes.
  await pool.query(sql.unsafe`update node_registry.node_leases set free_bytes = 77`);
  await vi.waitFor(() => expect(view.candidates().every((node) => node.freeBytes === 77)).toBe(true), 20_000);
});

test("what another process commits after the nodes were read, and before the log is, gets into the view", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  const owner = await db.pool("node_registry", { url: db.url("superuser") });
  await pool.query(addNode("first"));
  const view = createNodeTable();
  const ring = createChangeRing(100);
  const deps = { pool, clock: systemClock, log: createTestLogger(), view, ring, figuresPeriodMs: () => undefined };
  const locked = Promise.withResolvers<void>();
  const change = owner.transaction(async (tx) => {
    await tx.query(sql.unsafe`lock table node_registry.directory_changes in access exclusive mode`);
    locked.resolve();
    await vi.waitFor(async () => {
      expect(
        await tx.exists(sql.unsafe`
        select from pg_locks where relation = 'node_registry.directory_changes'::regclass and not granted`),
      ).toBe(true);
    }, 20_000);
    expect(view.candidates()).toHaveLength(1);
    await tx.query(addNode("second"));
  });
  await locked.promise;
  await using follower = await startFollower(deps, new AbortController().signal);
  await change;
  await follower.caughtUp(AbortSignal.timeout(20_000));
  expect(view.candidates().map((node) => node.address.host)).toEqual(["first", "second"]);
  expect([ring.compacted, ring.head, view.revision]).toEqual([0n, 2n, 2n]);
});
