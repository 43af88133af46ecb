import { z } from "zod";

/** A chunk_hash or node_id as it leaves the database by `encode(..., 'hex')`. */
export const zHash = z.string().length(64);

/** Ascending like bytea in PostgreSQL, each once: the order in which every batch takes its row locks. */
export function sortedHashes(hashes: Iterable<string>): string[] {
  return [...new Set(hashes)].sort();
}
