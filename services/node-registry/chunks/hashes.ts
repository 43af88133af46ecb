import { z } from "zod";
import { sql } from "#platform/postgres/sql.ts";

/** A chunk_hash or node_id as it leaves the database by `encode(..., 'hex')`. */
export const zHash = z.string().length(64);

/** Binds hex strings as bytea[]; PostgreSQL reads the \x form itself, so no Buffer is made per hash. */
export function hashArray(hashes: readonly string[]) {
  return sql.array(
    hashes.map((hash) => `\\x${hash}`),
    "bytea",
  );
}

/** Ascending like bytea in PostgreSQL, each once: the order in which every batch takes its row locks. */
export function sortedHashes(hashes: Iterable<string>): string[] {
  return [...new Set(hashes)].sort();
}
