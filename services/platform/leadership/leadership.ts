import type { Logger } from "#platform/log/logger.ts";
import { isDatabaseDown } from "#platform/postgres/errors.ts";
import { backgroundOf, type Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { holderName, isCertainlyDead } from "./holder.ts";
import { acquireLease, releaseLease, renewLease, takenLease } from "./leases.store.ts";

export { assertLeader } from "./leases.store.ts";

export interface Lease {
  readonly epoch: bigint;
  /** False as soon as the lease may have passed to somebody else, measured by the monotonic clock, also after a pause. */
  isHeld(): boolean;
  /** Aborts when the lease is lost or the process stops. */
  readonly signal: AbortSignal;
}

export interface LeadershipOptions {
  pool: Pool;
  schema: string;
  /** One leader per schema and name. */
  name: string;
  /** How long others wait after the leader was last heard of, default 10,000. */
  ttlMs?: number;
  clock: Clock;
  log: Logger;
  /** Ends leadership cleanly: the work is told, waited for, and the lease released. */
  signal: AbortSignal;
  /** Runs while the lease is held. When it returns or throws the lease is released and, after a pause, sought again. */
  work: (lease: Lease) => Promise<void>;
}

/**
 * Runs `work` in at most one process at a time, as far as clocks and pauses allow; what must hold regardless is guarded
 * by checking the epoch in the statement or transaction that writes (`assertLeader`). A database that is away costs the
 * leadership only when the lease expires meanwhile. Returns when `signal` aborted and the work has ended; never throws.
 */
export async function runAsLeader(given: LeadershipOptions): Promise<void> {
  // No number of calls may keep a lease from being renewed.
  const options = { ...given, pool: backgroundOf(given.pool) };
  const { clock, log, signal, name } = options;
  const ttlMs = options.ttlMs ?? 10_000;
  const holder = holderName();
  const seen = createRenewalWatch(clock, ttlMs);
  let waitMs = 0;
  while (!signal.aborted) {
    await clock.sleep(waitMs, signal);
    if (signal.aborted) return;
    waitMs = jittered(Math.min(1_000, ttlMs / 5));
    const askedAt = clock.monotonicMs();
    try {
      const epoch = await seekLease(options, { holder, ttlMs, seen });
      if (epoch === undefined) continue;
      log.info({ lease: name, epoch }, "leading");
      const failed = await lead(options, { epoch, ttlMs, heldUntil: askedAt + ttlMs });
      if (failed) waitMs = jittered(1_000);
    } catch (error) {
      const level = isDatabaseDown(error) ? "warn" : "error";
      log[level]({ err: error, lease: name }, "could not seek the lease");
    }
  }
}

async function seekLease(
  { pool, schema, name }: LeadershipOptions,
  { holder, ttlMs, seen }: { holder: string; ttlMs: number; seen: RenewalWatch },
): Promise<bigint | undefined> {
  const current = await takenLease(pool, schema, name);
  const deadHolder = current !== undefined && isCertainlyDead(current.holder) ? current.holder : undefined;
  const unrenewed = current !== undefined && seen.isUnrenewed(current.expiresAt) ? current.expiresAt : undefined;
  return await acquireLease(pool, schema, { name, holder, ttlMs, deadHolder, unrenewed });
}

interface RenewalWatch {
  /** The lease was seen to end at this instant a whole time to live ago: whoever held it has given it up since. */
  isUnrenewed(expiresAt: Temporal.Instant): boolean;
}

/**
 * A lease that was written while the database's clock was ahead, or by a server whose clock is, ends far in the future once
 * that is right again: nobody would lead until then. Who seeks it measures by its own clock whether it is still renewed.
 */
function createRenewalWatch(clock: Clock, ttlMs: number): RenewalWatch {
  let seen: { readonly expiresAt: Temporal.Instant; readonly sinceMs: number } | undefined;
  return {
    isUnrenewed: (expiresAt) => {
      const now = clock.monotonicMs();
      if (seen === undefined || !seen.expiresAt.equals(expiresAt)) seen = { expiresAt, sinceMs: now };
      return now - seen.sinceMs > ttlMs;
    },
  };
}

/** Leads until the work ends, the lease is lost or the process stops; true when the work failed. */
async function lead(
  options: LeadershipOptions,
  held: { epoch: bigint; ttlMs: number; heldUntil: number },
): Promise<boolean> {
  const { pool, schema, name, clock, log, signal } = options;
  const lost = new AbortController();
  const ended = new AbortController();
  const lease: Lease = {
    epoch: held.epoch,
    isHeld: () => !lost.signal.aborted && clock.monotonicMs() < held.heldUntil,
    signal: AbortSignal.any([signal, lost.signal]),
  };
  const renewing = keepRenewing(options, held, lost, ended.signal);
  let failed = false;
  try {
    await options.work(lease);
  } catch (error) {
    failed = true;
    if (!lost.signal.aborted) log.error({ err: error, lease: name }, "the work under the lease failed");
  }
  ended.abort();
  await renewing;
  try {
    if (!lost.signal.aborted) await releaseLease(pool, schema, name, held.epoch);
  } catch (error) {
    // It expires by itself.
    log.warn({ err: error, lease: name }, "could not release the lease");
  }
  return failed;
}

/** Renews every third of the time to live, and gives the lease up when it could not be renewed in time. */
async function keepRenewing(
  { pool, schema, name, clock, log }: LeadershipOptions,
  held: { epoch: bigint; ttlMs: number; heldUntil: number },
  lost: AbortController,
  ended: AbortSignal,
): Promise<void> {
  const { epoch, ttlMs } = held;
  const lose = (reason: string) => {
    log.warn({ lease: name, epoch, reason }, "lost the lease");
    lost.abort(new Error(`lost the lease ${name}: ${reason}`));
  };
  let waitMs = ttlMs / 3;
  for (;;) {
    await clock.sleep(waitMs, ended);
    if (ended.aborted) return;
    // The count starts before the request, so that a slow answer cannot make the lease look longer than it is.
    const askedAt = clock.monotonicMs();
    const outOfTime = clock.sleep(Math.max(0, held.heldUntil - askedAt), ended).then(() => "late" as const);
    const renewed = renewLease(pool, schema, { name, epoch, ttlMs }).catch((error: unknown) => {
      log.warn({ err: error, lease: name }, "could not renew the lease");
      return "failed" as const;
    });
    const result = await Promise.race([renewed, outOfTime]);
    if (ended.aborted) return;
    waitMs = result === true ? ttlMs / 3 : ttlMs / 20;
    if (result === true) held.heldUntil = askedAt + ttlMs;
    else if (result === false || clock.monotonicMs() >= held.heldUntil) {
      lose(result === false ? "taken over" : "not renewed in time");
      return;
    }
  }
}

function jittered(ms: number): number {
  return ms * (0.75 + Math.random() / 2);
}
