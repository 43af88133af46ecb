import { z } from "zod";
import { TOKEN_LEEWAY_S } from "#platform/identity/token-verifier.ts";
import type { Connection } from "#platform/postgres/pool.ts";
import { instant, sql, uuidArray, zInstant, zUuid, zVoid } from "#platform/postgres/sql.ts";

const row = z.strictObject({
  sessionId: zUuid,
  userId: zUuid,
  generation: z.int(),
  createdAt: zInstant,
  rotatedAt: zInstant,
  idleExpiresAt: zInstant,
  absoluteExpiresAt: zInstant,
  tokenIssuedAt: zInstant,
  tokenKeyId: z.string(),
  tokenIsAdmin: z.boolean(),
  clientAddress: z.string(),
  userAgent: z.string(),
  revokedAt: zInstant.nullable(),
});
export type SessionRow = z.output<typeof row>;

const columns = sql.fragment`
  s.id "sessionId", s.user_id "userId", s.generation, s.created_at "createdAt", s.rotated_at "rotatedAt",
  s.idle_expires_at "idleExpiresAt", s.absolute_expires_at "absoluteExpiresAt", s.token_issued_at "tokenIssuedAt",
  s.token_key_id "tokenKeyId", s.token_is_admin "tokenIsAdmin", s.client_address "clientAddress",
  s.user_agent "userAgent", s.revoked_at "revokedAt"`;

export async function insertSession(tx: Connection, session: Omit<SessionRow, "revokedAt">): Promise<void> {
  await tx.query(sql.type(zVoid)`
    insert into auth.sessions (
      id, user_id, generation, created_at, rotated_at, idle_expires_at, absolute_expires_at, token_issued_at,
      token_key_id, token_is_admin, client_address, user_agent
    ) values (
      ${session.sessionId}, ${session.userId}, ${session.generation}, ${instant(session.createdAt)},
      ${instant(session.rotatedAt)}, ${instant(session.idleExpiresAt)}, ${instant(session.absoluteExpiresAt)},
      ${instant(session.tokenIssuedAt)}, ${session.tokenKeyId}, ${session.tokenIsAdmin}, ${session.clientAddress},
      ${session.userAgent})`);
}

export interface Rotation {
  readonly sessionId: string;
  readonly generation: number;
  readonly now: Temporal.Instant;
  /** What is left of the idle limit if nothing else ends the session. */
  readonly idleExpiresAt: Temporal.Instant;
  readonly tokenKeyId: string;
  readonly clientAddress: string;
  readonly userAgent: string;
}

/**
 * The one statement of a refresh: it makes the presented generation the previous one, or does nothing. Of two that come
 * together one waits for the other's row lock, finds the generation changed, and gets undefined.
 */
export async function rotateSession(db: Connection, rotation: Rotation): Promise<SessionRow | undefined> {
  const now = instant(rotation.now);
  const latest = instant(rotation.now.add({ seconds: TOKEN_LEEWAY_S }));
  const found = await db.maybeOne(sql.type(row)`
    update auth.sessions s
    set generation = s.generation + 1,
        rotated_at = ${now},
        idle_expires_at = least(${instant(rotation.idleExpiresAt)}, s.absolute_expires_at),
        -- As tokenIssuedAt in session.ts, and not before the session's other tokens that a verifier takes: a replica whose
        -- clock is ahead made them, and a revocation has the instant of the last one.
        token_issued_at = greatest(date_trunc('second', ${now}),
          case when s.token_issued_at <= ${latest} then s.token_issued_at end,
          case when u.valid_after <= ${now} + interval '1 day' then u.valid_after + interval '1 second' end),
        token_key_id = ${rotation.tokenKeyId},
        token_is_admin = u.is_admin,
        client_address = ${rotation.clientAddress},
        user_agent = ${rotation.userAgent}
    from auth.users u
    where s.id = ${rotation.sessionId} and s.generation = ${rotation.generation} and s.revoked_at is null
      and s.idle_expires_at > ${now} and u.id = s.user_id and u.is_active
    returning ${columns}`);
  return found ?? undefined;
}

export async function findSession(db: Connection, sessionId: string): Promise<SessionRow | undefined> {
  const found = await db.maybeOne(sql.type(row)`select ${columns} from auth.sessions s where s.id = ${sessionId}`);
  return found ?? undefined;
}

export async function lockSession(tx: Connection, sessionId: string): Promise<SessionRow | undefined> {
  const found = await tx.maybeOne(sql.type(row)`
    select ${columns} from auth.sessions s where s.id = ${sessionId} for update`);
  return found ?? undefined;
}

const lockedUser = z.strictObject({ validAfter: zInstant.nullable() });

/** Logins and revocations of one user follow one another; the order of locks is user, then sessions. */
export async function lockUser(tx: Connection, userId: string): Promise<z.output<typeof lockedUser> | undefined> {
  const found = await tx.maybeOne(sql.type(lockedUser)`
    select valid_after "validAfter" from auth.users where id = ${userId} for no key update`);
  return found ?? undefined;
}

/** Which of a user's sessions: one, all, or all but one. */
export type SessionChoice = { readonly only: string } | { readonly except: string } | "all";

/** Also those that ended by themselves but whose last access token, made after `tokensSince`, may still be good. */
export async function revokeSessions(
  tx: Connection,
  userId: string,
  choice: SessionChoice,
  reason: string,
  { now, tokensSince }: { readonly now: Temporal.Instant; readonly tokensSince: Temporal.Instant },
): Promise<readonly SessionRow[]> {
  const chosen =
    choice === "all"
      ? sql.fragment`true`
      : "only" in choice
        ? sql.fragment`s.id = ${choice.only}`
        : sql.fragment`s.id <> ${choice.except}`;
  return await tx.any(sql.type(row)`
    update auth.sessions s set revoked_at = ${instant(now)}, revoked_reason = ${reason}
    where s.user_id = ${userId} and s.revoked_at is null and ${chosen}
      and (s.idle_expires_at > ${instant(now)} or s.token_issued_at > ${instant(tokensSince)})
    returning ${columns}`);
}

/** The next version under the user's key; with `validAfter`, every token issued until then is refused from now on. */
export async function nextUserVersion(tx: Connection, userId: string, validAfter?: Temporal.Instant): Promise<bigint> {
  const value = validAfter === undefined ? sql.fragment`valid_after` : instant(validAfter);
  return await tx.oneFirst(sql.type(z.strictObject({ version: z.bigint() }))`
    update auth.users set event_version = event_version + 1, valid_after = ${value}
    where id = ${userId} returning event_version "version"`);
}

/** Living sessions, last used first, behind `after`. */
export async function listLivingSessions(
  db: Connection,
  userId: string,
  now: Temporal.Instant,
  page: { readonly limit: number; readonly after: { rotatedAt: Temporal.Instant; sessionId: string } | undefined },
): Promise<readonly SessionRow[]> {
  const behind =
    page.after === undefined
      ? sql.fragment`true`
      : sql.fragment`(s.rotated_at, s.id) < (${instant(page.after.rotatedAt)}, ${page.after.sessionId}::uuid)`;
  return await db.any(sql.type(row)`
    select ${columns} from auth.sessions s
    where s.user_id = ${userId} and s.revoked_at is null and s.idle_expires_at > ${instant(now)} and ${behind}
    order by s.rotated_at desc, s.id desc limit ${page.limit}`);
}

/** Removes sessions that ended long ago; returns how many, at most `limit`. */
export async function deleteOldSessions(db: Connection, before: Temporal.Instant, limit: number): Promise<number> {
  const old = await db.anyFirst(sql.type(z.strictObject({ id: zUuid }))`
    select id from auth.sessions where absolute_expires_at < ${instant(before)} order by absolute_expires_at limit ${limit}`);
  const { rowCount } = await db.query(sql.type(zVoid)`delete from auth.sessions where id = any(${uuidArray(old)})`);
  return rowCount;
}
