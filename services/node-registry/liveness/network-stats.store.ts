import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { zLiveness, zNodeState } from "../directory/node-rows.store.ts";

const isPresent = sql.fragment`n.state not in ('disqualified', 'deregistered')`;

/** Nodes by every combination that the totals are made of: a few dozen rows, however many nodes there are. */
export async function countNodes(db: Connection) {
  return db.any(sql.type(
    z.strictObject({
      state: zNodeState,
      liveness: zLiveness,
      is_active: z.boolean(),
      is_on_probation: z.boolean(),
      nodes: z.int(),
      capacity_gb: zInt8,
      used_bytes: z.string(),
      free_bytes: z.string(),
    }),
  )`
    select n.state, l.liveness, n.is_active, n.is_on_probation, count(*)::int as nodes, sum(n.capacity_gb) as capacity_gb,
      sum(l.used_bytes)::text as used_bytes, sum(l.free_bytes)::text as free_bytes
    from node_registry.storage_nodes n
    join node_registry.node_leases l on l.node_row_id = n.id
    group by n.state, l.liveness, n.is_active, n.is_on_probation`);
}

export async function countVersions(db: Connection) {
  return db.any(sql.type(z.strictObject({ software_version: z.string(), nodes: z.int() }))`
    select n.software_version, count(*)::int as nodes
    from node_registry.storage_nodes n
    where ${isPresent}
    group by n.software_version
    order by nodes desc, n.software_version
    limit 100`);
}

export async function sumRegions(db: Connection) {
  return db.any(sql.type(
    z.strictObject({ region: z.string(), nodes: z.int(), capacity_gb: zInt8, free_bytes: z.string() }),
  )`
    select n.region, count(*)::int as nodes, sum(n.capacity_gb) as capacity_gb, sum(l.free_bytes)::text as free_bytes
    from node_registry.storage_nodes n
    join node_registry.node_leases l on l.node_row_id = n.id
    where ${isPresent}
    group by n.region
    order by nodes desc, n.region
    limit 100`);
}
