import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { hexBytes, int8Array, sql, zInstant, zInt8, zVoid } from "#platform/postgres/sql.ts";
import type { NodeRecord } from "./node-record.ts";
import { fromNodeRow, nodeColumns, zNodeRow } from "./node-rows.store.ts";
import type { NodeFigures } from "./node-table.ts";

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

const zFigures = z.strictObject({
  node_row_id: zInt8,
  last_beat: zInstant.nullable(),
  used_bytes: zInt8,
  free_bytes: zInt8,
  chunk_count: zInt8,
  peer_network: z.string(),
  responsiveness: z.number(),
});

export interface StoredFigures extends NodeFigures {
  readonly rowId: bigint;
}

const figureColumns = sql.fragment`
  node_row_id, last_beat, used_bytes, free_bytes, chunk_count, coalesce(peer_network::text, '') as peer_network,
  responsiveness`;

/** The figures that heartbeats change, for nodes whose leases other processes write. In the order of row ids. */
export async function selectFiguresAfter(db: Connection, rowId: bigint, limit: number): Promise<StoredFigures[]> {
  const rows = await db.any(sql.type(zFigures)`
    select ${figureColumns}
    from node_registry.node_leases
    where node_row_id > ${rowId}
    order by node_row_id
    limit ${limit}`);
  return rows.map(fromFiguresRow);
}

/** The same for these nodes, in no order. */
export async function selectFigures(db: Connection, rowIds: readonly bigint[]): Promise<StoredFigures[]> {
  const rows = await db.any(sql.type(zFigures)`
    select ${figureColumns}
    from node_registry.node_leases
    where node_row_id = any(${int8Array(rowIds)})`);
  return rows.map(fromFiguresRow);
}

function fromFiguresRow(row: z.infer<typeof zFigures>): StoredFigures {
  return {
    rowId: row.node_row_id,
    lastHeartbeat: row.last_beat,
    usedBytes: Number(row.used_bytes),
    freeBytes: Number(row.free_bytes),
    chunkCount: Number(row.chunk_count),
    peerNetwork: row.peer_network,
    responsiveness: row.responsiveness,
  };
}

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
