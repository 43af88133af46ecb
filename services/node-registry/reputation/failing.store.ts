import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { instant, sql } from "#platform/postgres/sql.ts";
import type { Failing } from "./brake.ts";

// Enough to find the last bad one among the successes that were logged since.
const NEWEST_ENTRIES = 100;

/** One pass over the nodes: only for the moment when one is to be shut out. */
export async function countFailing(db: Connection, below: number, since: Temporal.Instant): Promise<Failing> {
  return db.one(sql.type(z.strictObject({ failing: z.int(), nodes: z.int() }))`
    with fallen as materialized (
      select r.node_id
      from node_registry.node_reputations r
      where r.score < ${below} and exists (
        select
        from (
          select e.kind, e.occurred_at
          from node_registry.reputation_evidence e
          where e.node_id = r.node_id
          order by e.id desc
          limit ${NEWEST_ENTRIES}
        ) as newest
        where newest.kind in ('proof_failed', 'proof_timed_out', 'proof_invalid') and newest.occurred_at > ${instant(since)})
    )
    select count(fallen.node_id)::integer as failing,
      count(*) filter (where n.state <> 'disqualified' or fallen.node_id is not null)::integer as nodes
    from node_registry.storage_nodes n
    left join fallen on fallen.node_id = n.id
    where n.state <> 'deregistered'`);
}
