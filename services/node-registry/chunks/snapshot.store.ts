import type { Transaction } from "#platform/postgres/pool.ts";
import { sql, zVoid } from "#platform/postgres/sql.ts";

/** First statement of a transaction that only reads: everything after it sees the same instant. */
export async function readOneSnapshot(tx: Transaction): Promise<void> {
  await tx.query(sql.type(zVoid)`set transaction isolation level repeatable read, read only`);
}
