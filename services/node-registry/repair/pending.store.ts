import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { hexBytesArray, instant, sql, zInt8 } from "#platform/postgres/sql.ts";
import { zHash } from "../chunks/hashes.ts";
import type { Pair } from "../chunks/replicas.store.ts";

/**
 * Assignments of uploads that their nodes have not confirmed, where they or the chunk's quorum are younger than this. The
 * end of an upload takes its assignments away, so each of them is of one that lives.
 */
export async function readPending(
  db: Connection,
  hashes: readonly string[],
  youngerThan: Temporal.Instant,
): Promise<Pair[]> {
  if (hashes.length === 0) return [];
  const rows = await db.any(sql.type(z.strictObject({ chunk_hash: zHash, node_id: zInt8 }))`
    select encode(asked.chunk_hash, 'hex') as chunk_hash, s.node_id
    from unnest(${hexBytesArray(hashes)}) as asked (chunk_hash)
    cross join lateral (
      select node_id, assigned_at
      from node_registry.chunk_storage
      where chunk_hash = asked.chunk_hash and stored_at is null and lost_at is null and not is_repair
      offset 0
    ) as s
    cross join lateral (
      select quorum_at from node_registry.chunks where chunk_hash = asked.chunk_hash offset 0
    ) as c
    where greatest(s.assigned_at, c.quorum_at) > ${instant(youngerThan)}`);
  return rows.map((row) => ({ chunkHash: row.chunk_hash, nodeRowId: row.node_id }));
}
