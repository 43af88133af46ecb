import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { hexBytesArray, instant, int4Array, int8Array, sql, textArray, zInt8, zVoid } from "#platform/postgres/sql.ts";
import { zHash } from "../chunks/hashes.ts";
import type { Pair } from "../chunks/replicas.store.ts";

/** Throws where no answer could be recorded. */
export async function assertReachable(db: Connection): Promise<void> {
  await db.query(sql.type(z.strictObject({ up: z.int() }))`select 1 as up`);
}

const zClaimed = z.strictObject({
  node_id: zInt8,
  chunk_hash: zHash,
  is_confirmed: z.boolean(),
  generation: z.int(),
  size_bytes: zInt8,
  proof_root: zHash.nullable(),
  strike: z.enum(["invalid", "timed_out"]).nullable(),
});

export interface ClaimedReplica extends Pair {
  readonly isConfirmed: boolean;
  readonly generation: number;
  readonly sizeBytes: number;
  /** Undefined also where the root is known to be false. */
  readonly proofRoot: string | undefined;
  /** How the challenge before this one failed; what the node has stored anew since then begins without a miss. */
  readonly strike: "invalid" | "timed_out" | undefined;
}

/** Locks those of the replicas that are still due and that nobody else is claiming at this moment. */
export async function claimDue(
  tx: Transaction,
  pairs: readonly Pair[],
  now: Temporal.Instant,
): Promise<readonly ClaimedReplica[]> {
  const rows = await tx.any(sql.type(zClaimed)`
    select s.node_id, encode(s.chunk_hash, 'hex') as chunk_hash, s.stored_at is not null as is_confirmed,
      c.generation, c.size_bytes,
      case when d.chunk_hash is null then encode(c.proof_root, 'hex') end as proof_root,
      k.failure as strike
    from unnest(${hashesOf(pairs)}, ${nodesOf(pairs)}) as asked (chunk_hash, node_id)
    cross join lateral (
      select r.node_id, r.chunk_hash, r.stored_at
      from node_registry.chunk_storage r
      where r.chunk_hash = asked.chunk_hash and r.node_id = asked.node_id and r.next_proof_at <= ${instant(now)}
      for no key update skip locked
    ) as s
    cross join lateral (
      select * from node_registry.chunks where chunk_hash = s.chunk_hash offset 0
    ) as c
    left join node_registry.doubted_proof_roots d on d.chunk_hash = c.chunk_hash and d.generation = c.generation
    left join node_registry.proof_strikes k
      on k.chunk_hash = s.chunk_hash and k.node_id = s.node_id and k.generation = c.generation
        and k.struck_at >= s.stored_at`);
  return rows.map((row) => ({
    nodeRowId: row.node_id,
    chunkHash: row.chunk_hash,
    isConfirmed: row.is_confirmed,
    generation: row.generation,
    sizeBytes: Number(row.size_bytes),
    proofRoot: row.proof_root ?? undefined,
    strike: row.strike ?? undefined,
  }));
}

/** A replica with the time until its next challenge. */
export interface Rescheduled extends Pair {
  readonly dueInMs: number;
}

/** Sets when each is due next. Answers those that still count; the others are put off all the same. */
export async function reschedule(
  tx: Transaction,
  replicas: readonly Rescheduled[],
  now: Temporal.Instant,
): Promise<readonly Pair[]> {
  return writeReplicas(tx, replicas, now, sql.fragment``);
}

/** Records a proof of each. Answers those that still count. */
export async function markVerified(
  tx: Transaction,
  replicas: readonly Rescheduled[],
  now: Temporal.Instant,
): Promise<readonly Pair[]> {
  return writeReplicas(
    tx,
    replicas,
    now,
    sql.fragment`, verified_at = ${instant(now)}, proof_count = s.proof_count + 1`,
  );
}

/**
 * In the order of the keys, as everybody locks them, and by one look into the index per replica: left to choose, the
 * planner counts one look into each partition, and reads the whole table instead. Answers positions, in one row: the
 * usual batch counts as a whole, and nothing is made of each.
 */
async function writeReplicas(
  tx: Transaction,
  replicas: readonly Rescheduled[],
  now: Temporal.Instant,
  more: ReturnType<typeof sql.fragment>,
): Promise<readonly Pair[]> {
  if (replicas.length === 0) return [];
  const { counting } = await tx.one(sql.type(z.strictObject({ counting: z.array(z.int()) }))`
    with asked as materialized (
      select * from unnest(
        ${hashesOf(replicas)}, ${nodesOf(replicas)}, ${int8Array(replicas.map((replica) => Math.round(replica.dueInMs)))}
      ) with ordinality as given (chunk_hash, node_id, due_in_ms, position)
      order by chunk_hash, node_id
    ), written as (
      update node_registry.chunk_storage s
      set next_proof_at = ${instant(now)} + asked.due_in_ms * interval '1 millisecond' ${more}
      from asked
      where s.chunk_hash = asked.chunk_hash and s.node_id = asked.node_id
      returning asked.position, s.stored_at is not null as counts
    )
    select coalesce(array_agg(position::integer) filter (where counts), '{}') as counting from written`);
  return counting.flatMap((position) => replicas[position - 1] ?? []);
}

const zSettings = z.strictObject({ hash: z.string(), merge: z.string() });

/** For the rest of the transaction: to be called before `reschedule` and `markVerified`. */
export async function lookUpByIndex(tx: Transaction): Promise<void> {
  await tx.query(sql.type(zSettings)`
    select set_config('enable_hashjoin', 'off', true) as hash, set_config('enable_mergejoin', 'off', true) as merge`);
}

/** Of the replicas, those whose chunk some node has proved, be it the same one. */
export async function findWitnessed(db: Connection, pairs: readonly Pair[]): Promise<readonly Pair[]> {
  if (pairs.length === 0) return [];
  const rows = await db.any(sql.type(z.strictObject({ node_id: zInt8, chunk_hash: zHash }))`
    select asked.node_id, encode(asked.chunk_hash, 'hex') as chunk_hash
    from unnest(${hashesOf(pairs)}, ${nodesOf(pairs)}) as asked (chunk_hash, node_id)
    where exists (
      select from node_registry.chunk_storage s
      where s.chunk_hash = asked.chunk_hash and s.verified_at is not null)`);
  return rows.map((row) => ({ nodeRowId: row.node_id, chunkHash: row.chunk_hash }));
}

export interface Strike extends Pair {
  readonly generation: number;
  readonly failure: "invalid" | "timed_out";
}

export async function saveStrikes(tx: Transaction, strikes: readonly Strike[], now: Temporal.Instant): Promise<void> {
  if (strikes.length === 0) return;
  await tx.query(sql.type(zVoid)`
    insert into node_registry.proof_strikes (chunk_hash, node_id, generation, failure, struck_at)
    select *, ${instant(now)}
    from unnest(
      ${hashesOf(strikes)}, ${nodesOf(strikes)}, ${int4Array(strikes.map((strike) => strike.generation))},
      ${textArray(strikes.map((strike) => strike.failure))}
    )
    on conflict (chunk_hash, node_id) do update
    set generation = excluded.generation, failure = excluded.failure, struck_at = excluded.struck_at`);
}

export async function clearStrikes(tx: Transaction, pairs: readonly Pair[]): Promise<void> {
  if (pairs.length === 0) return;
  await tx.query(sql.type(zVoid)`
    delete from node_registry.proof_strikes k
    using unnest(${hashesOf(pairs)}, ${nodesOf(pairs)}) as asked (chunk_hash, node_id)
    where k.chunk_hash = asked.chunk_hash and k.node_id = asked.node_id`);
}

export async function dropOldStrikes(tx: Transaction, before: Temporal.Instant): Promise<void> {
  await tx.query(sql.type(zVoid)`
    delete from node_registry.proof_strikes where struck_at < ${instant(before)}`);
}

/** The client's root of these chunks is false: they are asked for whole from now on. */
export async function doubtRoots(
  tx: Transaction,
  chunks: readonly { readonly chunkHash: string; readonly generation: number }[],
  now: Temporal.Instant,
): Promise<void> {
  if (chunks.length === 0) return;
  await tx.query(sql.type(zVoid)`
    insert into node_registry.doubted_proof_roots (chunk_hash, generation, doubted_at)
    select distinct on (chunk_hash) chunk_hash, generation, ${instant(now)}
    from unnest(
      ${hexBytesArray(chunks.map((chunk) => chunk.chunkHash))}, ${int4Array(chunks.map((chunk) => chunk.generation))}
    ) as doubted (chunk_hash, generation)
    order by chunk_hash
    on conflict (chunk_hash) do update set generation = excluded.generation, doubted_at = excluded.doubted_at`);
}

function hashesOf(pairs: readonly Pair[]) {
  return hexBytesArray(pairs.map((pair) => pair.chunkHash));
}

function nodesOf(pairs: readonly Pair[]) {
  return int8Array(pairs.map((pair) => pair.nodeRowId));
}
