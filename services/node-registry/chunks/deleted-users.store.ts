import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { instant, sql, uuidArray, zUuid, zVoid } from "#platform/postgres/sql.ts";

export async function insertDeletedUsers(
  tx: Transaction,
  userIds: readonly string[],
  now: Temporal.Instant,
): Promise<void> {
  await tx.query(sql.type(zVoid)`
    insert into node_registry.deleted_users (user_id, deleted_at)
    select user_id, ${instant(now)} from unnest(${uuidArray(userIds)}) as gone (user_id)
    order by user_id
    on conflict do nothing`);
}

/** Users whose uploads still have to be ended, oldest first. */
export async function readUsersToPurge(db: Connection, limit: number): Promise<string[]> {
  const rows = await db.any(sql.type(z.strictObject({ user_id: zUuid }))`
    select user_id
    from node_registry.deleted_users
    where purged_at is null
    order by deleted_at
    limit ${limit}`);
  return rows.map((row) => row.user_id);
}

/** Nothing of the user is left, and nothing more can come. */
export async function markPurged(db: Connection, userId: string, now: Temporal.Instant): Promise<void> {
  await db.query(sql.type(zVoid)`
    update node_registry.deleted_users set purged_at = ${instant(now)} where user_id = ${userId}::uuid`);
}
