import type { Transaction } from "#platform/postgres/pool.ts";
import { instant, int8Array, sql, zVoid } from "#platform/postgres/sql.ts";

const PER_NODE = 100;

/**
 * Brings replicas of these nodes back that are put off for longer than any can be: by a clock that was wrong, or for an
 * interval that was longer. They become due some time within the given one. One look at the end of the due-index per node
 * and partition; a portion of each node's, the rest in later rounds.
 */
export async function bringBack(
  tx: Transaction,
  nodeRowIds: readonly bigint[],
  {
    now,
    latest,
    withinMs,
  }: { readonly now: Temporal.Instant; readonly latest: Temporal.Instant; readonly withinMs: number },
): Promise<void> {
  await tx.query(sql.type(zVoid)`
    with overlong as materialized (
      select late.chunk_hash, late.node_id
      from unnest(${int8Array(nodeRowIds)}) as asked (node_id)
      cross join lateral (
        select r.chunk_hash, r.node_id
        from node_registry.chunk_storage r
        where r.node_id = asked.node_id and r.next_proof_at > ${instant(latest)}
        order by r.next_proof_at desc
        limit ${PER_NODE}
        for no key update skip locked
      ) as late
    )
    update node_registry.chunk_storage s
    set next_proof_at = ${instant(now)} + random() * ${withinMs} * interval '1 millisecond'
    from overlong
    where s.chunk_hash = overlong.chunk_hash and s.node_id = overlong.node_id`);
}
