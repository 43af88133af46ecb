import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { instant, int8Array, sql, zInt8 } from "#platform/postgres/sql.ts";
import { zHash } from "../chunks/hashes.ts";
import type { Pair } from "../chunks/replicas.store.ts";

export interface DueReplica extends Pair {
  /** Until it is due; 0 or less: it is. */
  readonly dueInMs: number;
}

const zDue = z.strictObject({ node_id: zInt8, chunk_hash: zHash, due_in_ms: z.number(), is_retry: z.boolean() });

/**
 * The first few of each node that are or will be due, without those that are asked for already: retries that are due first,
 * or a node with much behind it would answer for nothing. Each node costs one descent per partition of the due-index,
 * whatever the size of the table. Locks nothing.
 */
export async function peekDue(
  db: Connection,
  nodeRowIds: readonly bigint[],
  limitPerNode: number,
  { now, struckAfter }: { readonly now: Temporal.Instant; readonly struckAfter: Temporal.Instant },
): Promise<ReadonlyMap<bigint, readonly DueReplica[]>> {
  const rows = await db.any(sql.type(zDue)`
    select due.node_id, encode(due.chunk_hash, 'hex') as chunk_hash,
      extract(epoch from due.next_proof_at - ${instant(now)})::float8 * 1000 as due_in_ms, due.is_retry
    from unnest(${int8Array(nodeRowIds)}) as asked (node_id)
    cross join lateral (
      (
        select s.node_id, s.chunk_hash, s.next_proof_at, true as is_retry
        from node_registry.proof_strikes k
        cross join lateral (
          select r.node_id, r.chunk_hash, r.next_proof_at
          from node_registry.chunk_storage r
          where r.chunk_hash = k.chunk_hash and r.node_id = k.node_id and r.next_proof_at <= ${instant(now)}
          offset 0
        ) as s
        where k.node_id = asked.node_id and k.struck_at > ${instant(struckAfter)} and ${isNotAsked()}
        order by k.struck_at
        limit ${limitPerNode}
      )
      union all
      (
        select s.node_id, s.chunk_hash, s.next_proof_at, false as is_retry
        from node_registry.chunk_storage s
        where s.node_id = asked.node_id and ${isNotAsked()}
        order by s.next_proof_at
        limit ${limitPerNode}
      )
    ) as due`);
  const sorted = rows.toSorted((a, b) => Number(b.is_retry) - Number(a.is_retry) || a.due_in_ms - b.due_in_ms);
  const byNode = new Map<bigint, Map<string, DueReplica>>();
  for (const { node_id: nodeRowId, chunk_hash: chunkHash, due_in_ms: dueInMs } of sorted) {
    const replicas = byNode.get(nodeRowId) ?? new Map<string, DueReplica>();
    byNode.set(nodeRowId, replicas);
    if (!replicas.has(chunkHash)) replicas.set(chunkHash, { nodeRowId, chunkHash, dueInMs });
  }
  return new Map([...byNode].map(([nodeRowId, replicas]) => [nodeRowId, [...replicas.values()]]));
}

function isNotAsked() {
  return sql.fragment`not exists (
    select from node_registry.proof_challenges p
    where p.chunk_hash = s.chunk_hash and p.node_id = s.node_id)`;
}
