import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { hexBytes, int8Array, sql, zInt8, zVoid } from "#platform/postgres/sql.ts";

const zHeld = z.strictObject({ node_id: zInt8, is_available: z.boolean(), walked_to: z.string().nullable() });

/** How each node's replicas count at present; all nodes without a list. */
export async function readAvailabilities(db: Connection, rowIds?: readonly bigint[]) {
  const rows = await db.any(sql.type(zHeld)`
    select node_id, is_available, encode(walked_to, 'hex') as walked_to
    from node_registry.node_holdings
    where ${rowIds === undefined ? sql.fragment`true` : sql.fragment`node_id = any(${int8Array(rowIds)})`}`);
  return rows.map((row) => ({ rowId: row.node_id, isAvailable: row.is_available, walkedTo: row.walked_to }));
}

/** Begins a walk, unless one is under way or the value is that already: until a chunk is reached nothing changes for it. */
export async function turnAvailability(db: Connection, rowId: bigint, isAvailable: boolean): Promise<boolean> {
  const { rowCount } = await db.query(sql.type(zVoid)`
    update node_registry.node_holdings
    set is_available = ${isAvailable}, walked_to = case when confirmed_chunks = 0 then null else ''::bytea end
    where node_id = ${rowId} and is_available <> ${isAvailable} and walked_to is null`);
  return rowCount === 1;
}

/** The node's row, locked after its chunks: where the walk is. */
export async function lockAvailability(tx: Transaction, rowId: bigint) {
  const row = await tx.maybeOne(sql.type(zHeld)`
    select node_id, is_available, encode(walked_to, 'hex') as walked_to
    from node_registry.node_holdings
    where node_id = ${rowId}
    for no key update`);
  return row === null ? undefined : { isAvailable: row.is_available, walkedTo: row.walked_to };
}

export async function saveWalk(tx: Transaction, rowId: bigint, walkedTo: string | null): Promise<void> {
  await tx.query(sql.type(zVoid)`
    update node_registry.node_holdings
    set walked_to = ${walkedTo === null ? sql.fragment`null` : hexBytes(walkedTo)}
    where node_id = ${rowId}`);
}
