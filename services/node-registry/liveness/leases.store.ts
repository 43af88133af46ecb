import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { boolArray, byteaArray, int8Array, sql, textArray, zInstant, zInt8 } from "#platform/postgres/sql.ts";
import { zLiveness, zNodeState } from "../directory/node-rows.store.ts";

export interface LeaseWrite {
  readonly rowId: bigint;
  /** Null for unary heartbeats, which belong to no stream. */
  readonly epoch: bigint | null;
  /** How long ago the heartbeat came: leases are kept on the database's clock, whatever this process's says. */
  readonly ageMs: number;
  readonly isRestarted: boolean;
  readonly sequence: bigint;
  readonly usedBytes: bigint;
  readonly freeBytes: bigint;
  readonly chunkCount: bigint;
  readonly isFreeClamped: boolean;
  readonly chunkDigest: Uint8Array | null;
  readonly peerNetwork: string;
}

const zWrittenLease = z.strictObject({
  node_row_id: zInt8,
  liveness: zLiveness,
  last_beat: zInstant,
  sequence: zInt8,
  used_bytes: zInt8,
  free_bytes: zInt8,
  chunk_count: zInt8,
  responsiveness: z.number(),
});
export type WrittenLease = z.infer<typeof zWrittenLease>;

/** Slonik takes no nulls in arrays of bytea. */
const NONE = new Uint8Array();

/**
 * Renews leases in one statement; `writes` must be sorted by row id. A lease whose epoch has been raised since is left
 * alone and missing in the answer. Figures of a sequence that was passed already are dropped, the lease is still renewed.
 * Responsiveness is a moving average over heartbeats: 1 for one that came in time, interval / gap for a late one.
 */
export async function writeLeases(
  db: Connection,
  instanceId: string,
  intervalMs: number,
  writes: readonly LeaseWrite[],
): Promise<readonly WrittenLease[]> {
  return db.any(sql.type(zWrittenLease)`
    with beat as (
      select beat.*, node_registry.lease_clock() - age_ms * interval '1 millisecond' as at
      from unnest(
        ${int8Array(writes.map((write) => write.rowId))}, ${int8Array(writes.map((write) => write.epoch))},
        ${sql.array(
          writes.map((write) => write.ageMs),
          "float8",
        )},
        ${boolArray(writes.map((write) => write.isRestarted))}, ${int8Array(writes.map((write) => write.sequence))},
        ${int8Array(writes.map((write) => write.usedBytes))}, ${int8Array(writes.map((write) => write.freeBytes))},
        ${int8Array(writes.map((write) => write.chunkCount))}, ${boolArray(writes.map((write) => write.isFreeClamped))},
        ${byteaArray(writes.map((write) => write.chunkDigest ?? NONE))}, ${textArray(writes.map((write) => write.peerNetwork))}
      ) as beat (node_row_id, epoch, age_ms, is_restarted, sequence, used_bytes, free_bytes, chunk_count,
        is_free_clamped, chunk_digest, peer_network)
    )
    update node_registry.node_leases l set
      holder = ${instanceId},
      -- A process that stood still writes late what another has overtaken; but a beat in the future is from before the
      -- database's clock went back.
      last_beat = case when l.last_beat <= node_registry.lease_clock() then greatest(l.last_beat, beat.at) else beat.at end,
      responsiveness = case when l.last_beat is null then l.responsiveness else
        least(1, greatest(0, 0.9 * l.responsiveness + 0.1 * least(1, ${1.5 * intervalMs} / greatest(1,
          extract(epoch from beat.at - l.last_beat)::float8 * 1000)))) end,
      sequence = case when beat.is_restarted or beat.sequence > l.sequence then beat.sequence else l.sequence end,
      used_bytes = case when beat.is_restarted or beat.sequence > l.sequence then beat.used_bytes else l.used_bytes end,
      free_bytes = case when beat.is_restarted or beat.sequence > l.sequence then beat.free_bytes else l.free_bytes end,
      chunk_count =
        case when beat.is_restarted or beat.sequence > l.sequence then beat.chunk_count else l.chunk_count end,
      is_free_clamped =
        case when beat.is_restarted or beat.sequence > l.sequence then beat.is_free_clamped else l.is_free_clamped end,
      chunk_digest =
        case when beat.is_restarted or beat.sequence > l.sequence then nullif(beat.chunk_digest, '') else l.chunk_digest end,
      peer_network = coalesce(nullif(beat.peer_network, '')::cidr, l.peer_network)
    from beat
    where l.node_row_id = beat.node_row_id and (beat.epoch is null or beat.epoch = l.epoch)
    returning l.node_row_id, l.liveness, l.last_beat, l.sequence, l.used_bytes, l.free_bytes, l.chunk_count,
      l.responsiveness`);
}

/** A newer stream of each node: from now on only writes with this epoch count. `rowIds` sorted, each once. */
export async function raiseEpochs(
  db: Connection,
  instanceId: string,
  rowIds: readonly bigint[],
): Promise<ReadonlyMap<bigint, bigint>> {
  const rows = await db.any(sql.type(z.strictObject({ node_row_id: zInt8, epoch: zInt8 }))`
    update node_registry.node_leases l set epoch = l.epoch + 1, holder = ${instanceId}
    from unnest(${int8Array(rowIds)}) as opened (node_row_id)
    where l.node_row_id = opened.node_row_id
    returning l.node_row_id, l.epoch`);
  return new Map(rows.map((row) => [row.node_row_id, row.epoch]));
}

export const zLockedLease = z.strictObject({
  row_id: zInt8,
  node_id: z.string(),
  state: zNodeState,
  liveness: zLiveness,
  last_beat: zInstant.nullable(),
  /** Null before the first heartbeat. */
  silent_ms: z.number().nullable(),
});
export type LockedLease = z.infer<typeof zLockedLease>;

/**
 * Locks the leases of nodes that have been heard but are not online, and the nodes; what comes after a goodbye is no
 * return. Those that somebody else has locked are left out: the others must not wait for them.
 */
export async function lockReturningLeases(tx: Transaction, rowIds: readonly bigint[]): Promise<readonly LockedLease[]> {
  return tx.any(sql.type(zLockedLease)`
    select l.node_row_id as row_id, encode(n.node_id, 'hex') as node_id, n.state, l.liveness, l.last_beat,
      extract(epoch from l.last_beat - n.last_heartbeat)::float8 * 1000 as silent_ms
    from node_registry.node_leases l
    join node_registry.storage_nodes n on n.id = l.node_row_id
    where l.node_row_id = any(${int8Array(rowIds)}) and l.liveness <> 'online' and n.state <> 'deregistered'
    order by l.node_row_id
    for no key update of l, n skip locked`);
}

/** Those of the nodes that are not online and could be. */
export async function selectNotOnline(db: Connection, rowIds: readonly bigint[]): Promise<readonly bigint[]> {
  if (rowIds.length === 0) return [];
  return db.anyFirst(sql.type(z.strictObject({ row_id: zInt8 }))`
    select l.node_row_id as row_id
    from node_registry.node_leases l
    join node_registry.storage_nodes n on n.id = l.node_row_id
    where l.node_row_id = any(${int8Array(rowIds)}) and l.liveness <> 'online' and n.state <> 'deregistered'`);
}
