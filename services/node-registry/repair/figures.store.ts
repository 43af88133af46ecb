import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zInstant, zInt8 } from "#platform/postgres/sql.ts";

const zStats = z.strictObject({
  chunk_count: zInt8,
  chunk_bytes: zInt8,
  under_replicated: zInt8,
  lost: zInt8,
});

/**
 * From the running sums and the list: nothing that grows with the number of healthy chunks is counted. The sums are one
 * row per user, 117 MB for a million, and read only for GetNetworkStats, by one call at a time in each process. A total
 * kept beside them would be a row that every charge of the network waits for.
 */
export async function readChunkStats(db: Connection) {
  return db.one(sql.type(zStats)`
    select usage.chunk_count, usage.chunk_bytes, list.under_replicated, list.lost
    from (
      select coalesce(sum(charged_chunks), 0)::bigint as chunk_count,
        coalesce(sum(charged_bytes), 0)::bigint as chunk_bytes
      from node_registry.user_usage
    ) as usage,
    (
      select count(*) as under_replicated, count(*) filter (where live_replicas = 0) as lost
      from node_registry.under_replicated_chunks
    ) as list`);
}

const zHoldings = z.strictObject({
  assigned_chunks: zInt8,
  assigned_bytes: zInt8,
  confirmed_chunks: zInt8,
  pending_deletions: zInt8,
  digest_differs_since: zInstant.nullable(),
});

/** Zeros for a node that was never assigned anything. */
export async function readHoldings(db: Connection, nodeRowId: bigint) {
  return db.one(sql.type(zHoldings)`
    select coalesce(h.assigned_chunks, 0) as assigned_chunks, coalesce(h.assigned_bytes, 0) as assigned_bytes,
      coalesce(h.confirmed_chunks, 0) as confirmed_chunks, coalesce(h.pending_deletions, 0) as pending_deletions,
      d.since as digest_differs_since
    from (values (${nodeRowId}::bigint)) as asked (node_id)
    left join node_registry.node_holdings h using (node_id)
    left join node_registry.digest_differences d using (node_id)`);
}
