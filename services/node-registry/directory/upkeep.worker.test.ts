import { expect, test, vi } from "vitest";
import { z } from "zod";
import { createOutbox } from "#platform/outbox/outbox.ts";
import { sql } from "#platform/postgres/sql.ts";
import { createTestDatabase, createTestLogger } from "#platform/testing/test-database.ts";
import { systemClock } from "#platform/time/clock.ts";
import { createNodeTable } from "./node-table.ts";
import { startDirectoryUpkeep } from "./upkeep.worker.ts";

test("a node whose maintenance cannot be ended does not hold up the others", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  const owner = await db.pool("node_registry", { url: db.url("superuser") });
  await pool.query(sql.unsafe`
    with node as (
      insert into node_registry.storage_nodes
        (node_id, address_host, address_port, capacity_gb, state, maintenance_until)
      select sha256(host::bytea), host, 1, 1, 'maintenance', until
      from (values ('first.org', now() - interval '2 hours'), ('second.org', now() - interval '1 hour')) as v (host, until)
      returning id
    )
    insert into node_registry.node_leases (node_row_id) select id from node`);
  await owner.query(sql.unsafe`
    create function node_registry.refuse() returns trigger language plpgsql as 'begin raise exception ''refused''; end'`);
  await owner.query(sql.unsafe`
    create trigger refuse before update on node_registry.storage_nodes for each row
    when (old.address_host = 'first.org') execute function node_registry.refuse()`);
  const deps = { pool, outbox: createOutbox("node_registry"), clock: systemClock, log: createTestLogger() };
  const rules = { view: createNodeTable(), probationBelow: 0.5, probationMs: 1_000 };
  await using _upkeep = startDirectoryUpkeep({ ...deps, ...rules }, new AbortController().signal);
  await vi.waitFor(async () => {
    const states = await pool.anyFirst(sql.type(z.strictObject({ state: z.string() }))`
      select state from node_registry.storage_nodes order by address_host`);
    expect(states).toEqual(["maintenance", "in_service"]);
  }, 20_000);
});

test("a node that enrolled while the clock was years ahead is new for as long as any other one", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  await pool.query(sql.unsafe`
    with node as (
      insert into node_registry.storage_nodes (node_id, address_host, address_port, capacity_gb, probation_until)
      values (sha256('x'), 'example.org', 1, 1, now() + interval '1 year') returning id
    )
    insert into node_registry.node_leases (node_row_id) select id from node`);
  const deps = { pool, outbox: createOutbox("node_registry"), clock: systemClock, log: createTestLogger() };
  const rules = { view: createNodeTable(), probationBelow: 0.5, probationMs: 1_000 };
  await using _upkeep = startDirectoryUpkeep({ ...deps, ...rules }, new AbortController().signal);
  await vi.waitFor(() => expect(rules.view.candidates()).toMatchObject([{ isOnProbation: false }]), 20_000);
});
