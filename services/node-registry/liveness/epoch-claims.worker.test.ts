import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { z } from "zod";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { createEpochClaims } from "./epoch-claims.worker.ts";

test("a claim that the database refuses fails no other one that shares its statement", async () => {
  await using db = await createTestDatabase();
  const pool = await db.pool("node_registry");
  const owner = await db.pool("node_registry", { url: db.url("superuser") });
  const [first, refused, other] = await pool.anyFirst(sql.type(z.strictObject({ id: zInt8 }))`
    with node as (
      insert into node_registry.storage_nodes (node_id, address_host, address_port, capacity_gb)
      select sha256(name::text::bytea), 'example.org', 1, 1 from generate_series(1, 3) as name returning id
    ), lease as (
      insert into node_registry.node_leases (node_row_id) select id from node
    )
    select id from node order by id`);
  if (first === undefined || refused === undefined || other === undefined) throw new Error("no nodes");
  await owner.query(sql.unsafe`
    create function node_registry.refuse() returns trigger language plpgsql as 'begin raise exception ''refused''; end'`);
  await owner.query(sql.unsafe`
    create trigger refuse before update on node_registry.node_leases for each row
    when (old.node_row_id = ${sql.literalValue(String(refused))}) execute function node_registry.refuse()`);
  const claims = createEpochClaims({ pool, instanceId: randomUUID() });
  // The second and the third gather while the first is under way.
  const settled = await Promise.allSettled([claims.claim(first), claims.claim(refused), claims.claim(other)]);
  expect(settled).toMatchObject([
    { status: "fulfilled", value: 1n },
    { status: "rejected" },
    { status: "fulfilled", value: 1n },
  ]);
});
