import { MOST_AHEAD_MS } from "#platform/identity/revocations.ts";

/** What decides about a refresh. */
export interface SessionState {
  /** Of the newest refresh token. */
  readonly generation: number;
  /** When the newest one was made. */
  readonly rotatedAt: Temporal.Instant;
  readonly idleExpiresAt: Temporal.Instant;
  readonly absoluteExpiresAt: Temporal.Instant;
  readonly revokedAt: Temporal.Instant | null;
}

export interface SessionRules {
  readonly idleMs: number;
  readonly absoluteMs: number;
  /** How long the answer to the last refresh is repeated to whoever shows the token before. */
  readonly replayMs: number;
}

export type RefreshDecision =
  /** The newest token: the next generation begins. */
  | "rotate"
  /** The one before, again: the client did not get, or lost, the answer. It gets the same one. */
  | "replay"
  /** An older one, or the one before too late: two parties hold tokens of this session, so it ends. */
  | "theft"
  | "refused";

/**
 * Rule 5.6. `rotateSession` in the store is the first line of this as one conditional statement; whatever that refuses
 * is decided here, under the row's lock.
 */
export function decideRefresh(
  session: SessionState,
  generation: number,
  now: Temporal.Instant,
  rules: SessionRules,
): RefreshDecision {
  if (session.revokedAt !== null || !isBefore(now, session.idleExpiresAt)) return "refused";
  if (generation === session.generation) return "rotate";
  // Only a restored backup can know less than a token of ours. That is no theft.
  if (generation > session.generation) return "refused";
  // Either way: after a clock was set back the token before would otherwise be good until it is there again.
  const sinceMs = Math.abs(now.epochMilliseconds - session.rotatedAt.epochMilliseconds);
  return generation === session.generation - 1 && sinceMs < rules.replayMs ? "replay" : "theft";
}

/** A session lives until 14 days of silence, and never longer than 30 days. */
export function idleExpiry(now: Temporal.Instant, absolute: Temporal.Instant, rules: SessionRules): Temporal.Instant {
  const idle = now.add({ milliseconds: rules.idleMs });
  return isBefore(idle, absolute) ? idle : absolute;
}

/**
 * The `iat` of a new access token: this whole second, or the first one after the last revocation of all of the user's
 * tokens. So a token made after a revocation is never taken for one made before, though both were made within a second.
 * A revocation that was made by a clock far ahead counts for nothing, here and with the verifiers.
 */
export function tokenIssuedAt(now: Temporal.Instant, validAfter: Temporal.Instant | null): Temporal.Instant {
  const nowMs = wholeSecondMs(now);
  const firstMs = validAfter === null || isFarAhead(validAfter, now) ? nowMs : validAfter.epochMilliseconds + 1_000;
  return Temporal.Instant.fromEpochMilliseconds(Math.max(nowMs, firstMs));
}

/**
 * The `valid_after` of a revocation: not before any token of the sessions it ends, whichever replica's clock made that.
 * The caller holds the sessions' locks.
 */
export function validAfter(
  now: Temporal.Instant,
  issued: readonly Temporal.Instant[],
  before: Temporal.Instant | null,
): Temporal.Instant {
  const known = [...issued, ...(before === null ? [] : [before])].filter((instant) => !isFarAhead(instant, now));
  const ms = Math.max(wholeSecondMs(now), ...known.map((instant) => instant.epochMilliseconds));
  return Temporal.Instant.fromEpochMilliseconds(ms);
}

function isFarAhead(instant: Temporal.Instant, now: Temporal.Instant): boolean {
  return instant.epochMilliseconds > now.epochMilliseconds + MOST_AHEAD_MS;
}

function wholeSecondMs(instant: Temporal.Instant): number {
  return Math.floor(instant.epochMilliseconds / 1_000) * 1_000;
}

function isBefore(a: Temporal.Instant, b: Temporal.Instant): boolean {
  return Temporal.Instant.compare(a, b) < 0;
}
