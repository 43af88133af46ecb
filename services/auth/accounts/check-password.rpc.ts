import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { hashingBusy, invalidCredentials, tooManyAttempts } from "../errors.ts";
import { type Admission, admissionOf, waitAfterMs } from "../throttle/backoff.ts";
import { beginAttempt, endAttempt, readThrottles } from "../throttle/login-throttles.store.ts";
import type { AttemptKeys } from "../throttle/throttle-keys.ts";
import { BusyError } from "../throttle/turns.ts";
import { failureAnswerMs } from "./failure-time.ts";
import type { WithPermit } from "./hash-permits.ts";
import { nameKey } from "./username.ts";
import type { UserRow } from "./users.store.ts";

export interface PasswordCheck {
  readonly type: "LOGIN" | "CHANGE_PASSWORD";
  /** Whose password it is; undefined for a name that nobody has. */
  readonly findUser: () => Promise<UserRow | undefined>;
  /** As typed. */
  readonly username: string;
  readonly password: string;
  readonly address: string;
  readonly sessionId?: string;
  /** By the monotonic clock. */
  readonly arrivedMs: number;
  /** Work that needs a right password and the permit: renewing the hash, making another. */
  readonly whenRight?: (user: UserRow) => Promise<string | undefined>;
}

export interface RightPassword {
  readonly user: UserRow;
  readonly newHash: string | undefined;
}

/** Between two looks at attempts of other requests that are still being decided. */
const UNDECIDED_PAUSE_MS = 15;

/**
 * Checks a password under all of rule 5.6, for every RPC that takes one: throttled before the hash, a decoy for unknown
 * names, answered at the same times whatever was wrong.
 *
 * @throws INVALID_CREDENTIALS, TOO_MANY_ATTEMPTS, HASHING_BUSY.
 */
export async function checkPassword(deps: Deps, check: PasswordCheck, signal: AbortSignal): Promise<RightPassword> {
  const keys = deps.throttleKeys.login(comparable(check.username), check.address);
  const deadlineMs = deps.clock.monotonicMs() + deps.hashDeadlineMs;
  for (;;) {
    const tried = await permitted(deps, (withPermit) => attempt(deps, check, keys, withPermit), signal);
    if (tried.kind === "right") return { user: tried.user, newHash: tried.newHash };
    if (tried.kind === "wrong") return await refuse(deps, check, tried.user, tried.hashBeganMs, keys);
    if (tried.kind === "blocked") throw tooManyAttempts(tried.retryAfterMs);
    if (deps.clock.monotonicMs() > deadlineMs) throw hashingBusy(1_000);
    await deps.clock.sleep(UNDECIDED_PAUSE_MS * (0.5 + Math.random()), signal);
    signal.throwIfAborted();
  }
}

type Tried =
  | { readonly kind: "right"; readonly user: UserRow; readonly newHash: string | undefined }
  | { readonly kind: "wrong"; readonly user: UserRow | undefined; readonly hashBeganMs: number }
  | { readonly kind: "blocked"; readonly retryAfterMs: number }
  | { readonly kind: "undecided" };

/** Counted, then hashed with a permit. */
async function attempt(deps: Deps, check: PasswordCheck, keys: AttemptKeys, withPermit: WithPermit): Promise<Tried> {
  const { admission, exempt } = await standingOf(deps, keys);
  if (admission.kind === "blocked") return admission;
  const user = await check.findUser();
  const admitted = await beginAttempt(deps.pool, keys, exempt, deps.clock.now());
  if (admitted.length < 2) {
    if (admitted.length > 0) await endAttempt(deps.pool, admitted, "abandoned", deps.clock.now());
    return { kind: "undecided" };
  }
  return await withPermit(async () => {
    const hashBeganMs = deps.clock.monotonicMs() - check.arrivedMs;
    if (user === undefined) {
      await deps.hasher.verifyDecoy(check.password);
      return { kind: "wrong", user, hashBeganMs };
    }
    const isRight = (await deps.hasher.verify(user.passwordHash, check.password)) && user.isActive;
    if (!isRight) return { kind: "wrong", user, hashBeganMs };
    // The place is given back here and not with the session: others who wait for it may be the same user.
    const both = [keys.name, keys.nameAndAddress];
    await endAttempt(deps.pool, both, "succeeded", deps.clock.now(), keys.nameAndAddress);
    return { kind: "right", user, newHash: await check.whenRight?.(user) };
  });
}

/** Writes the refusal down, and answers when every failure is answered. `counted`: the attempt to end as failed. */
export async function refuse(
  deps: Deps,
  check: PasswordCheck,
  user: UserRow | undefined,
  hashBeganMs: number,
  counted?: AttemptKeys,
): Promise<never> {
  const { address, sessionId, type } = check;
  await deps.pool.transaction(async (tx) => {
    const both = counted === undefined ? [] : [counted.name, counted.nameAndAddress];
    const failures = both.length === 0 ? 0 : await endAttempt(tx, both, "failed", deps.clock.now());
    const waitMs = waitAfterMs(failures);
    const reason = waitMs === 0 ? "" : `failure ${failures} in a row: refused for the next ${waitMs / 1_000} s`;
    const userId = user?.userId;
    await recordAudit(tx, deps.clock, { type, refused: "INVALID_CREDENTIALS", userId, sessionId, address, reason });
  });
  const elapsedMs = deps.clock.monotonicMs() - check.arrivedMs;
  const answerMs = failureAnswerMs(hashBeganMs, elapsedMs, deps.failureStepMs, deps.hashPace.slowestMs());
  await deps.clock.sleep(answerMs - elapsedMs);
  throw invalidCredentials();
}

/** Whether an attempt may begin, and the key that is counted but not asked. */
async function standingOf(
  deps: Deps,
  keys: AttemptKeys,
): Promise<{ admission: Admission; exempt: Buffer | undefined }> {
  const now = deps.clock.now();
  const { name, pair } = await readThrottles(deps.pool, keys);
  const ofPair: Admission = pair === undefined ? { kind: "admitted" } : admissionOf(pair, now);
  const isTrusted = pair?.trustedUntil != null && Temporal.Instant.compare(pair.trustedUntil, now) > 0;
  // Strangers' failures elsewhere do not lock a user out of where a login succeeded before.
  if (isTrusted) return { admission: ofPair, exempt: keys.name };
  const ofName: Admission = name === undefined ? { kind: "admitted" } : admissionOf(name, now);
  return { admission: ofName.kind === "blocked" ? ofName : ofPair, exempt: undefined };
}

/** Runs in the turn of `HashPermits`; HASHING_BUSY where none comes. */
export async function permitted<T>(
  deps: Deps,
  work: (withPermit: WithPermit) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  try {
    return await deps.permits.run(work, signal);
  } catch (error) {
    throw error instanceof BusyError ? hashingBusy(error.retryAfterMs) : error;
  }
}

/** Longer names belong to nobody; normalising a megabyte is work that an attacker would like. */
const MAX_NAME_LENGTH = 640;

function comparable(username: string): string {
  return username.length > MAX_NAME_LENGTH ? username : nameKey(username);
}

/** The key to look a user up by, or undefined for what no username can be. */
export function lookupKeyOf(username: string): string | undefined {
  if (username.length > MAX_NAME_LENGTH || !username.isWellFormed() || username.includes("\0")) return undefined;
  return nameKey(username);
}
