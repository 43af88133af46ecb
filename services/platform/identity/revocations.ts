import type { Clock } from "#platform/time/clock.ts";
import type { TokenClaims } from "./token-verifier.ts";

/** Tokens that are refused before they end. */
export interface RevocationNotice {
  readonly userId: string;
  /** Empty: all of the user's. */
  readonly sessionIds: readonly string[];
  /** Tokens issued at or before it are refused. */
  readonly validAfter: Temporal.Instant;
}

/**
 * The "valid after" map of a verifier: what it refuses although signature and expiry are good. Filled by a
 * `RevocationFeed`, and in auth itself at once.
 */
export interface Revocations {
  add(notice: RevocationNotice): void;
  /** For `createTokenVerifier`; two map look-ups. */
  readonly isRevoked: (claims: Pick<TokenClaims, "sub" | "sid" | "iat">) => boolean;
  /** Entries held at the moment. */
  size(): number;
}

/**
 * How long a notice is of use: no user token lives longer than 5 minutes, and clocks differ by seconds. This also
 * bounds the memory: about 200 bytes for each revocation of the last minutes.
 */
export const NOTICE_LIFE_MS = 15 * 60_000;

/**
 * A revocation that lies further ahead was made while the clock was wrong. It is not obeyed, or its user would be locked
 * out until then; the tokens that it was for are refused as being from the future.
 */
export const MOST_AHEAD_MS = 86_400_000;

export function createRevocations(clock: Clock): Revocations {
  const users = new Map<string, number>();
  const sessions = new Map<string, number>();

  const obeyed = (entries: Map<string, number>, id: string) => {
    const validAfterMs = entries.get(id);
    if (validAfterMs === undefined) return Number.NEGATIVE_INFINITY;
    return validAfterMs > clock.now().epochMilliseconds + MOST_AHEAD_MS ? Number.NEGATIVE_INFINITY : validAfterMs;
  };

  const raise = (entries: Map<string, number>, id: string, validAfterMs: number) => {
    const before = obeyed(entries, id);
    // Deleted first, so that the map stays in the order of the last change and old entries are at its head.
    entries.delete(id);
    entries.set(id, Math.max(before, validAfterMs));
  };

  return {
    add: ({ userId, sessionIds, validAfter }) => {
      const nowMs = clock.now().epochMilliseconds;
      const oldestMs = nowMs - NOTICE_LIFE_MS;
      forgetOld(users, nowMs);
      forgetOld(sessions, nowMs);
      const validAfterMs = validAfter.epochMilliseconds;
      if (validAfterMs < oldestMs) return;
      if (sessionIds.length === 0) raise(users, userId, validAfterMs);
      for (const sessionId of sessionIds) raise(sessions, sessionId, validAfterMs);
    },
    isRevoked: ({ sub, sid, iat }) => {
      const issuedMs = iat * 1_000;
      return issuedMs <= obeyed(users, sub) || issuedMs <= obeyed(sessions, sid);
    },
    size: () => users.size + sessions.size,
  };
}

/** Of those that lie ahead, so many at most are put aside at a time. */
const ASIDE = 2;

/**
 * Looks only at the head: what comes late and old stays until it gets there. What a wrong clock put far ahead would stay
 * at the head for as long and keep all behind it: it goes to the tail.
 */
function forgetOld(entries: Map<string, number>, nowMs: number): void {
  let aside = 0;
  for (const [id, validAfterMs] of entries) {
    const isOld = validAfterMs < nowMs - NOTICE_LIFE_MS;
    if (!isOld && (validAfterMs <= nowMs + NOTICE_LIFE_MS || aside === ASIDE)) return;
    entries.delete(id);
    if (isOld) continue;
    entries.set(id, validAfterMs);
    aside += 1;
  }
}
