import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { hashingBusy, invalidCredentials, tooManyAttempts } from "../errors.ts";
import { type Admission, admissionOf } from "../throttle/backoff.ts";
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
  readonly attempt: AttemptKeys;
}

/** Between two looks at attempts of other requests that are still being decided. */
const UNDECIDED_PAUSE_MS = 15;

/**
 * Checks a password under all of rule 5.6, for every RPC that takes one: throttled before the hash, a decoy for unknown
 * names, answered at the same times whatever was wrong. The caller ends the attempt of a right password, in the
 * transaction that acts on it.
 *
 * @throws INVALID_CREDENTIALS, TOO_MANY_ATTEMPTS, HASHING_BUSY.
 */
export async function checkPassword(deps: Deps, check: PasswordCheck, signal: AbortSignal): Promise<RightPassword> {
  const keys = deps.throttleKeys.login(comparable(check.username), check.address);
  const deadlineMs = deps.clock.monotonicMs() + deps.hashDeadlineMs;
  for (;;) {
    const tried = await permitted(deps, (withPermit) => attempt(deps, check, keys, withPermit), signal);
    if (tried.kind === "right") return { user: tried.user, newHash: tried.newHash, attempt: keys };
    if (tried.kind === "wrong") return await fail(deps, check, tried.user, keys, tried.hashBeganMs);
    if (tried.kind === "blocked") throw tooManyAttempts(tried.retryAfterMs);
    if (deps.clock.monotonicMs() > deadlineMs || signal.aborted) throw hashingBusy(1_000);
    await deps.clock.sleep(UNDECIDED_PAUSE_MS * (0.5 + Math.random()), signal);
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
    return { kind: "right", user, newHash: await check.whenRight?.(user) };
  });
}

/** Counts the failure for good, writes it down, and answers when every failure is answered. */
export async function fail(
  deps: Deps,
  check: PasswordCheck,
  user: UserRow | undefined,
  keys: AttemptKeys,
  hashBeganMs: number,
): Promise<never> {
  await deps.pool.transaction(async (tx) => {
    await endAttempt(tx, [keys.name, keys.nameAndAddress], "failed", deps.clock.now());
    await recordAudit(tx, deps.clock, {
      type: check.type,
      refused: "INVALID_CREDENTIALS",
      userId: user?.userId,
      sessionId: check.sessionId,
      address: check.address,
    });
  });
  const elapsedMs = deps.clock.monotonicMs() - check.arrivedMs;
  await deps.clock.sleep(failureAnswerMs(hashBeganMs, elapsedMs, deps.failureStepMs) - elapsedMs);
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
