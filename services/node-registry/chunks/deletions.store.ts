import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { hexBytesArray, instant, int8Array, sql, textArray, zInt8, zVoid } from "#platform/postgres/sql.ts";
import { zHash } from "./hashes.ts";
import type { Pair } from "./replicas.store.ts";
import type { DeletionCause } from "./report-outcomes.ts";

export interface Deletion extends Pair {
  readonly cause: DeletionCause;
}

/**
 * What nodes are to delete from now on. Each deletion is new: a node that has not confirmed one is not given the chunk
 * again, so there is nothing that it could be told to delete a second time.
 */
export async function insertDeletions(
  tx: Transaction,
  deletions: readonly Deletion[],
  now: Temporal.Instant,
): Promise<void> {
  if (deletions.length === 0) return;
  await tx.query(sql.type(zVoid)`
    insert into node_registry.chunk_deletions (chunk_hash, node_id, cause, requested_at)
    select chunk_hash, node_id, cause, ${instant(now)}
    from unnest(
      ${hexBytesArray(deletions.map((deletion) => deletion.chunkHash))},
      ${int8Array(deletions.map((deletion) => deletion.nodeRowId))},
      ${textArray(deletions.map((deletion) => deletion.cause))}
    ) as asked (chunk_hash, node_id, cause)
    order by chunk_hash, node_id`);
}

/** The node has deleted them. Answers those that it was asked for. The chunks must be locked. */
export async function confirmDeletions(
  tx: Transaction,
  nodeRowId: bigint,
  hashes: readonly string[],
): Promise<string[]> {
  const rows = await tx.any(sql.type(z.strictObject({ chunk_hash: zHash }))`
    delete from node_registry.chunk_deletions
    where node_id = ${nodeRowId} and chunk_hash = any(${hexBytesArray(hashes)})
    returning encode(chunk_hash, 'hex') as chunk_hash`);
  return rows.map((row) => row.chunk_hash);
}

const zPending = z.strictObject({ chunk_hash: zHash, node_id: zInt8 });

/** Nodes that may not get these chunks before they have confirmed an older deletion. */
export async function readPendingDeletions(db: Connection, hashes: readonly string[]): Promise<Pair[]> {
  const rows = await db.any(sql.type(zPending)`
    select encode(d.chunk_hash, 'hex') as chunk_hash, d.node_id
    from unnest(${hexBytesArray(hashes)}) as asked (chunk_hash)
    join node_registry.chunk_deletions d on d.chunk_hash = asked.chunk_hash`);
  return rows.map((row) => ({ chunkHash: row.chunk_hash, nodeRowId: row.node_id }));
}

/** Per node the first hashes that it still has to delete. */
export async function readDeletionsOfNodes(
  db: Connection,
  nodeRowIds: readonly bigint[],
  limitPerNode: number,
): Promise<Pair[]> {
  const rows = await db.any(sql.type(zPending)`
    select encode(d.chunk_hash, 'hex') as chunk_hash, asked.node_id
    from unnest(${int8Array(nodeRowIds)}) as asked (node_id)
    cross join lateral (
      select chunk_hash from node_registry.chunk_deletions
      where node_id = asked.node_id
      order by chunk_hash
      limit ${limitPerNode}
    ) as d`);
  return rows.map((row) => ({ chunkHash: row.chunk_hash, nodeRowId: row.node_id }));
}
