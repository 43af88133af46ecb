import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";

/** Remembers in the transaction of a batch how far it came. A replay of old events does not set it back. */
export async function recordPosition(tx: Connection, source: string, position: bigint): Promise<void> {
  await tx.query(sql.unsafe`
    insert into user_quota.consumed_positions (source, position) values (${source}, ${position})
    on conflict (source) do update set position = excluded.position
    where consumed_positions.position < excluded.position`);
}

/** The highest outbox id of the source that was applied; 0 before the first. */
export async function readPosition(db: Connection, source: string): Promise<bigint> {
  const row = await db.maybeOne(sql.type(z.strictObject({ position: zInt8 }))`
    select position from user_quota.consumed_positions where source = ${source}`);
  return row?.position ?? 0n;
}
