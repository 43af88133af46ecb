import { sql } from "#platform/postgres/sql.ts";

/**
 * Binds hex strings as bytea[], in the text form of the array: PostgreSQL reads \x itself, and nothing is made or checked
 * per hash on the way, which is half of the cost of a large batch.
 */
export function hashArray(hashes: readonly (string | null)[]) {
  const items = hashes.map((hash) => (hash === null ? "null" : `"\\\\x${hash}"`));
  return sql.fragment`${`{${items.join(",")}}`}::bytea[]`;
}
