import type { Pool } from "#platform/postgres/pool.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import type { NodeTable } from "../directory/node-table.ts";
import { selectNodeRecords } from "../directory/nodes.store.ts";

/** Nodes by storage_nodes.id: from the view, and from the database those that it does not have (yet). */
export async function findNodes(
  deps: { readonly pool: Pool; readonly view: NodeTable },
  rowIds: Iterable<bigint>,
): Promise<ReadonlyMap<bigint, NodeRecord>> {
  const found = new Map<bigint, NodeRecord>();
  const missing: bigint[] = [];
  for (const rowId of new Set(rowIds)) {
    const node = deps.view.nodeByRowId(rowId);
    if (node === undefined) missing.push(rowId);
    else found.set(rowId, node);
  }
  if (missing.length > 0) {
    for (const node of await selectNodeRecords(deps.pool, missing)) found.set(node.rowId, node);
  }
  return found;
}
