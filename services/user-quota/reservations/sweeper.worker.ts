import { runAsLeader } from "#platform/leadership/leadership.ts";
import { lockAccounts } from "../accounts/accounts.store.ts";
import type { Deps } from "../deps.ts";
import { deleteEnded, foldOverdueOf, usersWithOverdue } from "./reservations.store.ts";

/** Accounts per transaction: their locks are held together. */
const BATCH = 200;
/** Ended reservations per statement. */
const PURGE_BATCH = 1_000;

export interface SweeperOptions {
  readonly intervalMs: number;
  /** How long an ended reservation, and with it its idempotency key, is remembered. */
  readonly retentionMs: number;
  readonly signal: AbortSignal;
}

/**
 * Folds out reservations whose time is over and that nobody came across, and deletes those that ended long ago, in one
 * process at a time. Only hygiene: whoever reads or changes an account reckons without overdue reservations anyway.
 * Never throws; ends with the signal.
 */
export function startSweeper(deps: Deps, options: SweeperOptions): Promise<void> {
  return runAsLeader({
    pool: deps.pool,
    schema: "user_quota",
    name: "reservation-sweeper",
    clock: deps.clock,
    log: deps.log,
    signal: options.signal,
    work: async (lease) => {
      while (lease.isHeld() && !lease.signal.aborted) {
        const isSwept = (await sweepOnce(deps)) < BATCH;
        const isPurged = (await purgeOnce(deps, options.retentionMs)) < PURGE_BATCH;
        if (isSwept && isPurged) await deps.clock.sleep(options.intervalMs * (0.75 + Math.random() / 2), lease.signal);
      }
    },
  });
}

/** Sweeps one batch and returns how many accounts it had. */
export async function sweepOnce(deps: Pick<Deps, "pool" | "clock">): Promise<number> {
  const now = deps.clock.now();
  const userIds = await usersWithOverdue(deps.pool, now, BATCH);
  if (userIds.length === 0) return 0;
  await deps.pool.transaction(async (tx) => {
    await lockAccounts(tx, userIds);
    await foldOverdueOf(tx, userIds, now);
  });
  return userIds.length;
}

/** Deletes one batch of reservations whose end is longer ago than the retention, and returns how many. */
export function purgeOnce(deps: Pick<Deps, "pool" | "clock">, retentionMs: number): Promise<number> {
  return deleteEnded(deps.pool, deps.clock.now().subtract({ milliseconds: retentionMs }), PURGE_BATCH);
}
