import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { bytes, instant, sql, zInstant, zVoid } from "#platform/postgres/sql.ts";

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

/** A cheap look before the work of checking a request; `spendJoinToken` decides. */
export async function isJoinTokenUsable(
  db: Connection,
  token: { readonly joinTokenId: string; readonly secretHash: Uint8Array },
  now: Temporal.Instant,
): Promise<boolean> {
  return db.exists(sql.type(zVoid)`
    select from node_registry.join_tokens
    where join_token_id = ${token.joinTokenId} and secret_hash = ${bytes(token.secretHash)}
      and expires_at > ${instant(now)} and revoked_at is null and (max_uses = 0 or uses < max_uses)`);
}

/** Spends one use; false where the token is unknown, expired, revoked or used up. The row stays locked until commit. */
export async function spendJoinToken(
  tx: Connection,
  token: { readonly joinTokenId: string; readonly secretHash: Uint8Array },
  now: Temporal.Instant,
): Promise<boolean> {
  const { rowCount } = await tx.query(sql.type(zVoid)`
    update node_registry.join_tokens set uses = uses + 1
    where join_token_id = ${token.joinTokenId} and secret_hash = ${bytes(token.secretHash)}
      and expires_at > ${instant(now)} and revoked_at is null and (max_uses = 0 or uses < max_uses)`);
  return rowCount > 0;
}

/** Undefined where there is no such token; one that is revoked already keeps its time. */
export async function revokeJoinToken(db: Connection, joinTokenId: string, now: Temporal.Instant) {
  const row = await db.maybeOne(sql.type(z.strictObject({ uses: z.int(), revoked_at: zInstant }))`
    update node_registry.join_tokens set revoked_at = coalesce(revoked_at, ${instant(now)})
    where join_token_id = ${joinTokenId}
    returning uses, revoked_at`);
  return row ?? undefined;
}
