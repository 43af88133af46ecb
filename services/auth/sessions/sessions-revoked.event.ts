import { UserSessionsRevokedSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import type { RevocationNotice } from "#platform/identity/revocations.ts";
import { newEvent, type Outbox } from "#platform/outbox/outbox.ts";
import type { Connection } from "#platform/postgres/pool.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";
import { USER_TOKEN_SECONDS } from "../keys/access-token.ts";
import { validAfter } from "./session.ts";
import { lockUser, nextUserVersion, revokeSessions, type SessionChoice, type SessionRow } from "./sessions.store.ts";

export type RevocationReason =
  | "logout"
  | "revoked_by_user"
  | "password_changed"
  | "refresh_token_reused"
  | "admin_rights_removed";

/** An event must stay a small message, however many sessions somebody collected. */
const SESSIONS_PER_EVENT = 1_000;
/** The longest that a verifier takes a token after its end, and then some. */
const SLACK_SECONDS = 60;

export interface EndedSessions {
  readonly sessions: readonly SessionRow[];
  /** For this process's own verifier after the commit; undefined where nothing ended. */
  readonly notice: RevocationNotice | undefined;
}

/**
 * Ends sessions and tells every verifier, in the caller's transaction. Takes the user's lock first, so that a login or
 * a refresh that runs at the same time is either ended here or was made after. Nothing happens where neither a
 * session nor a token of one lives.
 */
export async function endSessions(
  tx: Connection,
  deps: { readonly clock: Clock; readonly outbox: Outbox },
  userId: string,
  choice: SessionChoice,
  reason: RevocationReason,
): Promise<EndedSessions> {
  const user = await lockUser(tx, userId);
  if (user === undefined) return { sessions: [], notice: undefined };
  const now = deps.clock.now();
  const ended = await revokeSessions(tx, userId, choice, reason, { now, tokensSince: oldestToken(now) });
  if (ended.length === 0) return { sessions: [], notice: undefined };
  const until = validAfter(
    now,
    ended.map((session) => session.tokenIssuedAt),
    choice === "all" ? user.validAfter : null,
  );
  for (const sessionIds of sessionLists(choice, ended, now)) {
    const keyVersion = await nextUserVersion(tx, userId, choice === "all" ? until : undefined);
    const at = { subject: `decentrastore.user.sessions_revoked.${userId}`, key: userId, keyVersion, clock: deps.clock };
    const event = { userId, validAfter: toTimestamp(until), sessionIds: [...sessionIds], reason };
    await deps.outbox.append(tx, [newEvent(UserSessionsRevokedSchema, at, event)]);
  }
  const sessionIds = choice === "all" ? [] : ended.map((session) => session.sessionId);
  return { sessions: ended, notice: { userId, sessionIds, validAfter: until } };
}

/**
 * Ends all sessions of a user whom the caller deactivates or deletes, and who has an event of its own for it. Returns
 * the `valid_after` of that event. The caller has the user's lock.
 */
export async function endAllSessions(
  tx: Connection,
  clock: Clock,
  userId: string,
  reason: "deactivated" | "deleted",
): Promise<Temporal.Instant> {
  const user = await lockUser(tx, userId);
  const now = clock.now();
  const ended = await revokeSessions(tx, userId, "all", reason, { now, tokensSince: oldestToken(now) });
  const issued = ended.map((session) => session.tokenIssuedAt);
  return validAfter(now, issued, user?.validAfter ?? null);
}

/** Sessions whose last token has ended need no telling: nobody accepts it any more. One event is sent in any case. */
function sessionLists(
  choice: SessionChoice,
  ended: readonly SessionRow[],
  now: Temporal.Instant,
): readonly (readonly string[])[] {
  if (choice === "all") return [[]];
  const oldest = oldestToken(now);
  const told = ended.filter((session) => Temporal.Instant.compare(session.tokenIssuedAt, oldest) > 0);
  const ids = (told.length > 0 ? told : ended.slice(0, 1)).map((session) => session.sessionId);
  return Array.from({ length: Math.ceil(ids.length / SESSIONS_PER_EVENT) }, (_, index) =>
    ids.slice(index * SESSIONS_PER_EVENT, (index + 1) * SESSIONS_PER_EVENT),
  );
}

/** No verifier takes a token that was made before. */
function oldestToken(now: Temporal.Instant): Temporal.Instant {
  return now.subtract({ seconds: USER_TOKEN_SECONDS + SLACK_SECONDS });
}
