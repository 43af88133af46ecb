import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import {
  boolArray,
  byteaArray,
  hexBytesArray,
  instant,
  int4Array,
  int8Array,
  sql,
  uuidArray,
  zBytes,
  zInt8,
  zUuid,
} from "#platform/postgres/sql.ts";
import { zHash } from "../chunks/hashes.ts";
import type { Pair } from "../chunks/replicas.store.ts";
import type { Challenge } from "./challenge.ts";

const zChallenge = z.strictObject({
  command_id: zUuid,
  node_hash: zHash,
  node_id: zInt8,
  chunk_hash: zHash,
  generation: z.int(),
  size_bytes: zInt8,
  proof_root: zHash.nullable(),
  leaf_index: z.int().nullable(),
  nonce: zBytes,
  is_retry: z.boolean(),
});

const columns = sql.fragment`
  p.command_id, encode(n.node_id, 'hex') as node_hash, p.node_id, encode(p.chunk_hash, 'hex') as chunk_hash, p.generation,
  p.size_bytes, encode(p.proof_root, 'hex') as proof_root, p.leaf_index, p.nonce, p.is_retry`;

/** Of these nodes, oldest first: what a process must know when nodes come to it. */
export async function readOpenChallenges(db: Connection, nodeRowIds: readonly bigint[]): Promise<Challenge[]> {
  const rows = await db.any(sql.type(zChallenge)`
    select ${columns}
    from node_registry.proof_challenges p
    join node_registry.storage_nodes n on n.id = p.node_id
    where p.node_id = any(${int8Array(nodeRowIds)})
    order by p.command_id`);
  return rows.map(fromRow);
}

export async function findChallenge(db: Connection, commandId: string): Promise<Challenge | undefined> {
  const row = await db.maybeOne(sql.type(zChallenge)`
    select ${columns}
    from node_registry.proof_challenges p
    join node_registry.storage_nodes n on n.id = p.node_id
    where p.command_id = ${commandId}`);
  return row === null ? undefined : fromRow(row);
}

/**
 * Takes out those that are still open and the node's, in the order of their ids, and answers their ids: whoever has taken
 * a challenge settles it in this transaction. What it was about the caller knows, since a challenge never changes.
 */
export async function takeChallenges(
  tx: Transaction,
  challenges: readonly { readonly commandId: string; readonly nodeRowId: bigint }[],
): Promise<ReadonlySet<string>> {
  if (challenges.length === 0) return new Set();
  const { taken } = await tx.one(sql.type(z.strictObject({ taken: z.array(zUuid) }))`
    with asked as materialized (
      select * from unnest(
        ${uuidArray(challenges.map((challenge) => challenge.commandId))},
        ${int8Array(challenges.map((challenge) => challenge.nodeRowId))}
      ) as given (command_id, node_id)
      order by command_id
    ), taken as (
      delete from node_registry.proof_challenges p using asked
      where p.command_id = asked.command_id and p.node_id = asked.node_id
      returning p.command_id
    )
    select coalesce(array_agg(command_id), '{}') as taken from taken`);
  return new Set(taken);
}

/** Answers those that were inserted: another process may have asked for the same replica meanwhile. */
export async function insertChallenges(
  tx: Transaction,
  challenges: readonly Challenge[],
  now: Temporal.Instant,
): Promise<readonly Challenge[]> {
  const { inserted } = await tx.one(sql.type(z.strictObject({ inserted: z.array(zUuid) }))`
    with made as (
    insert into node_registry.proof_challenges (command_id, chunk_hash, node_id, generation, size_bytes, proof_root,
      leaf_index, nonce, is_retry, issued_at)
    select *, ${instant(now)}
    from unnest(
      ${uuidArray(challenges.map((challenge) => challenge.commandId))},
      ${hexBytesArray(challenges.map((challenge) => challenge.chunkHash))},
      ${int8Array(challenges.map((challenge) => challenge.nodeRowId))},
      ${int4Array(challenges.map((challenge) => challenge.generation))},
      ${int8Array(challenges.map((challenge) => challenge.sizeBytes))},
      ${hexBytesArray(challenges.map((challenge) => challenge.proofRoot ?? null))},
      ${int4Array(challenges.map((challenge) => challenge.leafIndex ?? null))},
      ${byteaArray(challenges.map((challenge) => challenge.nonce))},
      ${boolArray(challenges.map((challenge) => challenge.isRetry))}
    )
    on conflict do nothing
    returning command_id
    )
    select coalesce(array_agg(command_id), '{}') as inserted from made`);
  if (inserted.length === challenges.length) return challenges;
  const isInserted = new Set(inserted);
  return challenges.filter(({ commandId }) => isInserted.has(commandId));
}

export async function countOpenChallenges(db: Connection, nodeRowId: bigint): Promise<number> {
  const { count } = await db.one(sql.type(z.strictObject({ count: zInt8 }))`
    select count(*) as count from node_registry.proof_challenges where node_id = ${nodeRowId}`);
  return Number(count);
}

/** Of the replicas, those that are being asked for. */
export async function findChallenged(db: Connection, pairs: readonly Pair[]): Promise<Pair[]> {
  const rows = await db.any(sql.type(z.strictObject({ chunk_hash: zHash, node_id: zInt8 }))`
    select encode(p.chunk_hash, 'hex') as chunk_hash, p.node_id
    from unnest(
      ${hexBytesArray(pairs.map((pair) => pair.chunkHash))}, ${int8Array(pairs.map((pair) => pair.nodeRowId))}
    ) as asked (chunk_hash, node_id)
    join node_registry.proof_challenges p on p.chunk_hash = asked.chunk_hash and p.node_id = asked.node_id`);
  return rows.map((row) => ({ chunkHash: row.chunk_hash, nodeRowId: row.node_id }));
}

/**
 * Challenges whose replica does not count any more (released, or reported lost by the node itself) or whose node has
 * left: nothing will answer them. One pass over the open ones, with a look into the indexes for each: free to choose, the
 * planner rather reads every replica that there is (with 3 million: 500 ms on three processors instead of 270 on one).
 */
export async function findStaleChallenges(db: Connection, limit: number): Promise<Challenge[]> {
  const rows = await db.any(sql.type(zChallenge)`
    select ${columns}
    from node_registry.proof_challenges p
    join node_registry.storage_nodes n on n.id = p.node_id
    cross join lateral (
      select generation from node_registry.chunks where chunk_hash = p.chunk_hash offset 0
    ) as c
    left join lateral (
      select chunk_hash
      from node_registry.chunk_storage
      where chunk_hash = p.chunk_hash and node_id = p.node_id and stored_at is not null
      offset 0
    ) as s on true
    where s.chunk_hash is null or c.generation <> p.generation or n.state in ('disqualified', 'deregistered')
    order by p.command_id
    limit ${limit}`);
  return rows.map(fromRow);
}

function fromRow(row: z.infer<typeof zChallenge>): Challenge {
  return {
    commandId: row.command_id,
    nodeId: row.node_hash,
    nodeRowId: row.node_id,
    chunkHash: row.chunk_hash,
    generation: row.generation,
    sizeBytes: Number(row.size_bytes),
    proofRoot: row.proof_root ?? undefined,
    leafIndex: row.leaf_index ?? undefined,
    nonce: row.nonce,
    isRetry: row.is_retry,
  };
}
