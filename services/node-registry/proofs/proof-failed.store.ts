import { z } from "zod";
import type { Transaction } from "#platform/postgres/pool.ts";
import { int8Array, sql, zInt8 } from "#platform/postgres/sql.ts";

/** Raises the nodes' event versions by so many each, in the order of their ids; answers them as they are after it. */
export async function raiseEventVersions(
  tx: Transaction,
  counts: ReadonlyMap<bigint, number>,
): Promise<ReadonlyMap<bigint, bigint>> {
  if (counts.size === 0) return new Map();
  const rows = await tx.any(sql.type(z.strictObject({ id: zInt8, event_version: zInt8 }))`
    with raised as materialized (
      select n.id, asked.events
      from unnest(${int8Array([...counts.keys()])}, ${int8Array([...counts.values()])}) as asked (id, events)
      join node_registry.storage_nodes n on n.id = asked.id
      order by n.id
      for no key update of n
    )
    update node_registry.storage_nodes n set event_version = n.event_version + raised.events
    from raised
    where n.id = raised.id
    returning n.id, n.event_version`);
  return new Map(rows.map((row) => [row.id, row.event_version]));
}
