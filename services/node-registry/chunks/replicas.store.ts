import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { hexBytesArray, instant, int4Array, int8Array, sql, zInt8, zVoid } from "#platform/postgres/sql.ts";
import { zHash } from "./hashes.ts";
import type { DeletionCause, KnownReplica } from "./report-outcomes.ts";

export interface Replica extends KnownReplica {
  readonly chunkHash: string;
  readonly nodeRowId: bigint;
}

/** One node and one chunk: what is unique in chunk_storage and in chunk_deletions. */
export interface Pair {
  readonly nodeRowId: bigint;
  readonly chunkHash: string;
}

const zReplica = z.strictObject({
  chunk_hash: zHash,
  node_id: zInt8,
  block_index: z.int(),
  is_repair: z.boolean(),
  state: z.enum(["assigned", "confirmed", "lost"]),
});

const columns = sql.fragment`
  encode(s.chunk_hash, 'hex') as chunk_hash, s.node_id, s.block_index, s.is_repair,
  case when s.stored_at is not null then 'confirmed' when s.lost_at is not null then 'lost' else 'assigned' end as state`;

/**
 * Every replica of the chunks. A lateral subquery that cannot be pulled up looks into the index of one partition per
 * hash; a join the planner would rather make by reading all of a table that is not large yet.
 */
export async function readReplicas(db: Connection, hashes: readonly string[]): Promise<Replica[]> {
  const rows = await db.any(sql.type(zReplica)`
    select ${columns}
    from unnest(${hexBytesArray(hashes)}) as asked (chunk_hash)
    cross join lateral (
      select * from node_registry.chunk_storage where chunk_hash = asked.chunk_hash offset 0
    ) as s
    order by s.chunk_hash, s.id`);
  return rows.map(fromRow);
}

const zStored = z.strictObject({ chunk_hash: zHash, node_id: zInt8.nullable() });

/**
 * Confirmed replicas of living chunks, with a null for a living chunk that has none: one snapshot. The end of a chunk's
 * life takes its replicas with it, so the chunk itself is looked up only where no replica says that it lives: a third of
 * the time less.
 */
export async function readStoredReplicas(db: Connection, hashes: readonly string[]) {
  const rows = await db.any(sql.type(zStored)`
    select encode(asked.chunk_hash, 'hex') as chunk_hash, s.node_id
    from unnest(${hexBytesArray(hashes)}) as asked (chunk_hash)
    left join lateral (
      select node_id from node_registry.chunk_storage
      where chunk_hash = asked.chunk_hash and stored_at is not null offset 0
    ) as s on true
    left join lateral (
      select chunk_hash from node_registry.chunks
      where s.node_id is null and chunk_hash = asked.chunk_hash and released_at is null offset 0
    ) as c on true
    where s.node_id is not null or c.chunk_hash is not null`);
  return rows.map((row) => ({ chunkHash: row.chunk_hash, nodeRowId: row.node_id }));
}

const zKnown = zReplica.extend({
  state: z.enum(["assigned", "confirmed", "lost"]).nullable(),
  block_index: z.int().nullable(),
  is_repair: z.boolean().nullable(),
  cause: z.enum(["released", "upload_expired", "not_placed"]).nullable(),
});

export interface KnownPair extends Pair {
  readonly replica: KnownReplica | undefined;
  readonly deletion: DeletionCause | undefined;
}

/** What is known of each pair: its replica, or why the node was told to delete the chunk. */
export async function readPairs(db: Connection, pairs: readonly Pair[]): Promise<KnownPair[]> {
  if (pairs.length === 0) return [];
  const rows = await db.any(sql.type(zKnown)`
    select encode(asked.chunk_hash, 'hex') as chunk_hash, asked.node_id, s.block_index, s.is_repair,
      case when s.chunk_hash is null then null when s.stored_at is not null then 'confirmed'
        when s.lost_at is not null then 'lost' else 'assigned' end as state,
      d.cause
    from unnest(${hashesOf(pairs)}, ${nodesOf(pairs)}) as asked (chunk_hash, node_id)
    left join node_registry.chunk_storage s on s.chunk_hash = asked.chunk_hash and s.node_id = asked.node_id
    left join node_registry.chunk_deletions d on d.chunk_hash = asked.chunk_hash and d.node_id = asked.node_id`);
  return rows.map((row) => ({
    chunkHash: row.chunk_hash,
    nodeRowId: row.node_id,
    replica:
      row.state === null || row.block_index === null
        ? undefined
        : { state: row.state, blockIndex: row.block_index, isRepair: row.is_repair === true },
    deletion: row.cause ?? undefined,
  }));
}

export interface AssignmentTerms {
  /** Whether repair assigns them, and not an upload. */
  readonly isRepair?: boolean;
  /** The first proof is due within it: set here, because a confirmation that touched the due-index would be slower. */
  readonly firstProofWithinMs: number;
}

export async function insertReplicas(
  tx: Transaction,
  replicas: readonly (Pair & { readonly blockIndex: number })[],
  now: Temporal.Instant,
  { isRepair = false, firstProofWithinMs }: AssignmentTerms,
): Promise<void> {
  if (replicas.length === 0) return;
  await tx.query(sql.type(zVoid)`
    insert into node_registry.chunk_storage (chunk_hash, node_id, block_index, assigned_at, is_repair, next_proof_at)
    select assigned.chunk_hash, assigned.node_id, assigned.block_index, ${instant(now)}, ${isRepair},
      ${instant(now)} + random() * ${firstProofWithinMs} * interval '1 millisecond'
    from unnest(
      ${hashesOf(replicas)}, ${nodesOf(replicas)}, ${int4Array(replicas.map((replica) => replica.blockIndex))}
    ) as assigned (chunk_hash, node_id, block_index)`);
}

const zConfirmed = z.strictObject({ chunk_hash: zHash, node_id: zInt8, block_index: z.int(), is_repair: z.boolean() });

/**
 * Confirms those of the pairs that are assigned, and answers them as they were: with the reading that this saves, the
 * usual report costs half. The chunks must be locked.
 */
export async function confirmAssigned(
  tx: Transaction,
  pairs: readonly Pair[],
  now: Temporal.Instant,
): Promise<Replica[]> {
  const rows = await tx.any(sql.prepared("confirm_assigned", zConfirmed)`
    update node_registry.chunk_storage s
    set stored_at = ${instant(now)}
    from unnest(${hashesOf(pairs)}, ${nodesOf(pairs)}) as made (chunk_hash, node_id)
    where s.chunk_hash = made.chunk_hash and s.node_id = made.node_id and s.stored_at is null and s.lost_at is null
    returning encode(s.chunk_hash, 'hex') as chunk_hash, s.node_id, s.block_index, s.is_repair`);
  return rows.map((row) => fromRow({ ...row, state: "assigned" }));
}

/** Replicas that were lost with their node, and are back with it. The chunks must be locked. */
export async function confirmLost(tx: Transaction, pairs: readonly Pair[], now: Temporal.Instant): Promise<void> {
  if (pairs.length === 0) return;
  await tx.query(sql.type(zVoid)`
    update node_registry.chunk_storage s
    set stored_at = ${instant(now)}, lost_at = null
    from unnest(${hashesOf(pairs)}, ${nodesOf(pairs)}) as made (chunk_hash, node_id)
    where s.chunk_hash = made.chunk_hash and s.node_id = made.node_id`);
}

/** Confirmed replicas of nodes that were shut out: they stop counting, and may be confirmed again. */
export async function markReplicasLost(tx: Transaction, pairs: readonly Pair[], now: Temporal.Instant): Promise<void> {
  await tx.query(sql.type(zVoid)`
    update node_registry.chunk_storage s
    set stored_at = null, lost_at = ${instant(now)}
    from unnest(${hashesOf(pairs)}, ${nodesOf(pairs)}) as gone (chunk_hash, node_id)
    where s.chunk_hash = gone.chunk_hash and s.node_id = gone.node_id`);
}

export async function deleteReplicas(tx: Transaction, pairs: readonly Pair[]): Promise<void> {
  if (pairs.length === 0) return;
  await tx.query(sql.type(zVoid)`
    delete from node_registry.chunk_storage s
    using unnest(${hashesOf(pairs)}, ${nodesOf(pairs)}) as gone (chunk_hash, node_id)
    where s.chunk_hash = gone.chunk_hash and s.node_id = gone.node_id`);
}

/** A node's replicas in the order of their hashes, from behind `after` ("" for the start). */
export async function readReplicasOfNode(
  db: Connection,
  nodeRowId: bigint,
  range: { readonly after: string; readonly through: string; readonly limit: number },
): Promise<Replica[]> {
  const rows = await db.any(sql.type(zReplica)`
    select ${columns}
    from node_registry.chunk_storage s
    where s.node_id = ${nodeRowId}
      and s.chunk_hash > decode(${range.after}, 'hex') and s.chunk_hash <= decode(${range.through}, 'hex')
    order by s.chunk_hash
    limit ${range.limit}`);
  return rows.map(fromRow);
}

const zBucketSum = z.strictObject({ bucket: z.int().nullable(), digest: z.string() });

/** Of one snapshot. */
export interface BucketSums {
  readonly sums: ReadonlyMap<number, bigint>;
  /** The node's digest as every change has kept it. */
  readonly runningSum: bigint;
}

/** The digest of each bucket that is not empty, from the rows themselves. */
export async function sumBuckets(db: Connection, nodeRowId: bigint): Promise<BucketSums> {
  const rows = await db.any(sql.type(zBucketSum)`
    select bucket, mod(sum(high::numeric * 4294967296 + low), 18446744073709551616)::text as digest
    from (
      select get_byte(chunk_hash, 0) as bucket,
        ('x' || encode(substr(sha256(chunk_hash), 1, 4), 'hex'))::bit(32)::bigint & 4294967295 as high,
        ('x' || encode(substr(sha256(chunk_hash), 5, 4), 'hex'))::bit(32)::bigint & 4294967295 as low
      from (
        select chunk_hash::bytea as chunk_hash
        from node_registry.chunk_storage
        where node_id = ${nodeRowId} and stored_at is not null
      ) as held
    ) as terms (bucket, high, low)
    group by bucket
    union all
    select null, coalesce((select digest from node_registry.node_holdings where node_id = ${nodeRowId}), 0)::text`);
  const sums = new Map<number, bigint>();
  let runningSum = 0n;
  for (const { bucket, digest } of rows) {
    if (bucket === null) runningSum = BigInt(digest);
    else sums.set(bucket, BigInt(digest));
  }
  return { sums, runningSum };
}

function hashesOf(pairs: readonly Pair[]) {
  return hexBytesArray(pairs.map((pair) => pair.chunkHash));
}

function nodesOf(pairs: readonly Pair[]) {
  return int8Array(pairs.map((pair) => pair.nodeRowId));
}

function fromRow(row: z.infer<typeof zReplica>): Replica {
  return {
    chunkHash: row.chunk_hash,
    nodeRowId: row.node_id,
    blockIndex: row.block_index,
    isRepair: row.is_repair,
    state: row.state,
  };
}
