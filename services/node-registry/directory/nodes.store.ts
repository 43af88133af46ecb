import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { hexBytes, int8Array, sql, zInt8, zVoid } from "#platform/postgres/sql.ts";
import type { NodeRecord } from "./node-record.ts";
import { fromNodeRow, nodeColumns, zNodeRow } from "./node-rows.store.ts";

export async function findNodeRecord(db: Connection, nodeId: string): Promise<NodeRecord | undefined> {
  const row = await db.maybeOne(sql.type(zNodeRow)`
    select ${nodeColumns}
    from node_registry.storage_nodes n
    join node_registry.node_leases l on l.node_row_id = n.id
    where n.node_id = ${hexBytes(nodeId)}`);
  return row === null ? undefined : fromNodeRow(row);
}

/** In the order of row ids; unknown ones are left out. */
export async function selectNodeRecords(db: Connection, rowIds: readonly bigint[]): Promise<NodeRecord[]> {
  const rows = await db.any(sql.type(zNodeRow)`
    select ${nodeColumns}
    from node_registry.storage_nodes n
    join node_registry.node_leases l on l.node_row_id = n.id
    where n.id = any(${int8Array(rowIds)})
    order by n.id`);
  return rows.map(fromNodeRow);
}

/** All nodes that are not deregistered, a page at a time in the order of row ids: for filling the view. */
export async function selectNodeRecordsAfter(db: Connection, rowId: bigint, limit: number): Promise<NodeRecord[]> {
  const rows = await db.any(sql.type(zNodeRow)`
    select ${nodeColumns}
    from node_registry.storage_nodes n
    join node_registry.node_leases l on l.node_row_id = n.id
    where n.id > ${rowId} and n.state <> 'deregistered'
    order by n.id
    limit ${limit}`);
  return rows.map(fromNodeRow);
}

export interface NodeFilter {
  readonly onlyActive: boolean;
  readonly minCapacityGb: number;
  readonly minFreeBytes: bigint;
  readonly region: string;
  /** node_id in hex of the last node of the page before. */
  readonly after: string | undefined;
  readonly limit: number;
}

/** By node_id, without the deregistered: keyset paging, so a node that fits throughout appears exactly once. */
export async function listNodeRecords(db: Connection, filter: NodeFilter): Promise<NodeRecord[]> {
  const rows = await db.any(sql.type(zNodeRow)`
    select ${nodeColumns}
    from node_registry.storage_nodes n
    join node_registry.node_leases l on l.node_row_id = n.id
    where n.state <> 'deregistered'
      and n.node_id > ${hexBytes(filter.after ?? "")}
      and (not ${filter.onlyActive} or n.is_active)
      and n.capacity_gb >= ${filter.minCapacityGb}
      and l.free_bytes >= ${filter.minFreeBytes}
      and (${filter.region} = '' or n.region = ${filter.region})
    order by n.node_id
    limit ${filter.limit}`);
  return rows.map(fromNodeRow);
}

/** The figures that heartbeats change, for nodes whose leases other processes write. */
export async function selectFiguresAfter(db: Connection, rowId: bigint, limit: number) {
  return db.any(sql.type(zFigures)`
    select node_row_id, used_bytes, free_bytes, chunk_count, coalesce(peer_network::text, '') as peer_network,
      responsiveness
    from node_registry.node_leases
    where node_row_id > ${rowId}
    order by node_row_id
    limit ${limit}`);
}

const zFigures = z.strictObject({
  node_row_id: zInt8,
  used_bytes: zInt8,
  free_bytes: zInt8,
  chunk_count: zInt8,
  peer_network: z.string(),
  responsiveness: z.number(),
});

/** False where the row has it already. */
export async function updateProfile(
  tx: Connection,
  rowId: bigint,
  address: NodeRecord["address"],
  softwareVersion: string,
): Promise<boolean> {
  const { rowCount } = await tx.query(sql.type(zVoid)`
    update node_registry.storage_nodes
    set address_host = ${address.host}, address_port = ${address.port}, software_version = ${softwareVersion}
    where id = ${rowId}
      and (address_host, address_port, software_version) <> (${address.host}, ${address.port}::int, ${softwareVersion})`);
  return rowCount > 0;
}
