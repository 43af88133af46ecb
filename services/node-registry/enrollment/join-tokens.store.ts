import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { bytes, instant, int4Array, sql, textArray, zBytes, zInstant, zVoid } from "#platform/postgres/sql.ts";

export async function insertJoinToken(
  db: Connection,
  token: {
    readonly joinTokenId: string;
    readonly secretHash: Uint8Array;
    readonly maxUses: number;
    readonly expiresAt: Temporal.Instant;
    readonly createdBy: string;
  },
): Promise<void> {
  await db.query(sql.type(zVoid)`
    insert into node_registry.join_tokens (join_token_id, secret_hash, max_uses, expires_at, created_by)
    values (${token.joinTokenId}, ${bytes(token.secretHash)}, ${token.maxUses}, ${instant(token.expiresAt)},
      ${token.createdBy})`);
}

/** A cheap look before the work of checking a request; the lock of `lockJoinTokens` decides. */
export async function isJoinTokenUsable(
  db: Connection,
  token: { readonly joinTokenId: string; readonly secretHash: Uint8Array },
  now: Temporal.Instant,
): Promise<boolean> {
  return db.exists(sql.type(zVoid)`
    select from node_registry.join_tokens
    where join_token_id = ${token.joinTokenId} and secret_hash = ${bytes(token.secretHash)} and ${isUsable(now)}`);
}

const zLockedToken = z.strictObject({
  join_token_id: z.string(),
  secret_hash: zBytes,
  /** Null where it is unlimited. */
  uses_left: z.int().nullable(),
});
export type LockedToken = z.infer<typeof zLockedToken>;

/** Those that can be used, locked in the order of their ids. */
export async function lockJoinTokens(
  tx: Transaction,
  joinTokenIds: readonly string[],
  now: Temporal.Instant,
): Promise<readonly LockedToken[]> {
  return tx.any(sql.type(zLockedToken)`
    select join_token_id, secret_hash, case when max_uses > 0 then max_uses - uses end as uses_left
    from node_registry.join_tokens
    where join_token_id = any(${textArray(joinTokenIds)}) and ${isUsable(now)}
    order by join_token_id
    for update`);
}

function isUsable(now: Temporal.Instant) {
  return sql.fragment`(expires_at > ${instant(now)} and revoked_at is null and (max_uses = 0 or uses < max_uses))`;
}

/** Counts uses of tokens that are locked. */
export async function spendJoinTokens(tx: Transaction, uses: ReadonlyMap<string, number>): Promise<void> {
  if (uses.size === 0) return;
  await tx.query(sql.type(zVoid)`
    update node_registry.join_tokens t set uses = t.uses + spent.uses
    from unnest(${textArray([...uses.keys()])}, ${int4Array([...uses.values()])}) as spent (join_token_id, uses)
    where t.join_token_id = spent.join_token_id`);
}

/** Undefined where there is no such token; one that is revoked already keeps its time. */
export async function revokeJoinToken(db: Connection, joinTokenId: string, now: Temporal.Instant) {
  const row = await db.maybeOne(sql.type(z.strictObject({ uses: z.int(), revoked_at: zInstant }))`
    update node_registry.join_tokens set revoked_at = coalesce(revoked_at, ${instant(now)})
    where join_token_id = ${joinTokenId}
    returning uses, revoked_at`);
  return row ?? undefined;
}
