import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";

const zStats = z.strictObject({
  chunk_count: zInt8,
  chunk_bytes: zInt8,
  under_replicated: zInt8,
  lost: zInt8,
});

/** From the running sums and the list: nothing that grows with the number of healthy chunks is counted. */
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
});

/** Undefined for a node that was never assigned anything. */
export async function findHoldings(db: Connection, nodeRowId: bigint) {
  const row = await db.maybeOne(sql.type(zHoldings)`
    select assigned_chunks, assigned_bytes, confirmed_chunks, pending_deletions
    from node_registry.node_holdings where node_id = ${nodeRowId}`);
  return row ?? undefined;
}
