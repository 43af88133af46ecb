import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { int8Array, sql, uuidArray, zInt8, zVoid } from "#platform/postgres/sql.ts";

export interface UsageChange {
  readonly userId: string;
  bytes: bigint;
  chunks: bigint;
}

/** Folds charges and refunds by user, in the order in which rows are locked. */
export function foldUsage(changes: Iterable<UsageChange>): UsageChange[] {
  const byUser = new Map<string, UsageChange>();
  for (const { userId, bytes, chunks } of changes) {
    const folded = byUser.get(userId) ?? { userId, bytes: 0n, chunks: 0n };
    folded.bytes += bytes;
    folded.chunks += chunks;
    byUser.set(userId, folded);
  }
  return [...byUser.values()].sort((a, b) => (a.userId < b.userId ? -1 : 1));
}

/**
 * Adds what the events that follow will say. The locks make the sums exact at a position of the outbox, so this comes
 * right before the events are appended: an event of a user gets its id only while its transaction holds the user's row.
 */
export async function changeUsage(tx: Transaction, changes: readonly UsageChange[]): Promise<void> {
  const users = changes.map((change) => change.userId);
  if (users.length === 0) return;
  // Two statements, because an insert that goes negative fails its check before it finds the row to add to.
  await tx.query(sql.type(zVoid)`
    insert into node_registry.user_usage (user_id)
    select user_id from unnest(${uuidArray(users)}) as charged (user_id)
    order by user_id
    on conflict do nothing`);
  await tx.query(sql.type(zVoid)`
    with locked as materialized (
      select user_id from node_registry.user_usage
      where user_id = any(${uuidArray(users)})
      order by user_id
      for no key update
    )
    update node_registry.user_usage u
    set charged_bytes = u.charged_bytes + change.bytes, charged_chunks = u.charged_chunks + change.chunks
    from unnest(
      ${uuidArray(users)},
      ${int8Array(changes.map((change) => change.bytes))},
      ${int8Array(changes.map((change) => change.chunks))}
    ) as change (user_id, bytes, chunks)
    join locked on locked.user_id = change.user_id
    where u.user_id = change.user_id`);
}

const zUsage = z.strictObject({ charged_bytes: zInt8, charged_chunks: zInt8 });

const isConsumed = sql.fragment`(subject like 'decentrastore.chunk.%' or subject like 'decentrastore.upload.%')`;

/**
 * Sums and outbox position of one instant: while the row is held, no event of the user can be between. The row of zeros
 * stays: deleting it could make a charge that waits for its lock update nothing.
 */
export async function readUsage(tx: Transaction, userId: string) {
  await tx.query(sql.type(zVoid)`
    insert into node_registry.user_usage (user_id) values (${userId}::uuid) on conflict do nothing`);
  const usage = await tx.one(sql.type(zUsage)`
    select charged_bytes, charged_chunks
    from node_registry.user_usage
    where user_id = ${userId}::uuid
    for no key update`);
  // Only of events that user-quota consumes: it can tell that it has come so far by no others.
  const position = await tx.oneFirst(sql.type(z.strictObject({ position: zInt8 }))`
    select coalesce((
      select id from node_registry.outbox
      where ${isConsumed}
      order by id desc
      limit 1
    ), 0) as position`);
  return { chargedBytes: usage.charged_bytes, chargedChunks: usage.charged_chunks, outboxPosition: position };
}

/** Whether the broker has by now what user-quota consumes up to this position. */
export async function isPublishedUpTo(db: Connection, position: bigint): Promise<boolean> {
  return !(await db.exists(sql.unsafe`
    select from node_registry.outbox where published_at is null and id <= ${position} and ${isConsumed}`));
}
