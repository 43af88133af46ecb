import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";

/** The view does not hold them. */
export async function countDeregistered(db: Connection): Promise<number> {
  const { nodes } = await db.one(sql.type(z.strictObject({ nodes: z.int() }))`
    select count(*)::int as nodes from node_registry.storage_nodes where state = 'deregistered'`);
  return nodes;
}

/** Numeric, because what nodes claim of themselves may add up to more than an int8. */
const zFigures = z.strictObject({ region: z.string(), used_bytes: z.string(), free_bytes: z.string() });

/** What nodes say of themselves, by region, where other processes write leases too. */
export async function sumFigures(db: Connection) {
  return db.any(sql.type(zFigures)`
    select n.region, sum(l.used_bytes)::text as used_bytes, sum(l.free_bytes)::text as free_bytes
    from node_registry.storage_nodes n
    join node_registry.node_leases l on l.node_row_id = n.id
    where n.state not in ('disqualified', 'deregistered')
    group by n.region`);
}
