import { runAsLeader } from "#platform/leadership/leadership.ts";
import { isIntegrityViolation } from "#platform/postgres/errors.ts";
import { lockAccounts } from "../accounts/accounts.store.ts";
import type { Deps } from "../deps.ts";
import { deleteEnded, foldOverdueOf, usersWithOverdue } from "./reservations.store.ts";

/** Reservations that a batch begins with; the locks of their accounts are held together. */
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

/**
 * Sweeps the accounts of one batch of overdue reservations, and returns how many these were; 0 also where one of them could
 * not be swept. An account whose counters are wrong keeps the others from nothing.
 */
export async function sweepOnce(deps: Pick<Deps, "pool" | "clock" | "log">): Promise<number> {
  const now = deps.clock.now();
  const found = await usersWithOverdue(deps.pool, now, BATCH);
  if (found.length === 0) return 0;
  const userIds = found.map(({ userId }) => userId);
  try {
    await sweepAccounts(deps, userIds, now);
    return found.reduce((sum, { overdue }) => sum + Number(overdue), 0);
  } catch (error) {
    if (!isIntegrityViolation(error)) throw error;
  }
  for (const userId of userIds) {
    try {
      await sweepAccounts(deps, [userId], now);
    } catch (error) {
      if (!isIntegrityViolation(error)) throw error;
      deps.log.error({ err: error, userId }, "the overdue reservations of an account could not be folded out");
    }
  }
  return 0;
}

async function sweepAccounts({ pool }: Pick<Deps, "pool">, userIds: readonly string[], now: Temporal.Instant) {
  await pool.transaction(async (tx) => {
    await lockAccounts(tx, userIds);
    await foldOverdueOf(tx, userIds, now);
  });
}

/** Deletes one batch of reservations whose end is longer ago than the retention, and returns how many. */
export function purgeOnce(deps: Pick<Deps, "pool" | "clock">, retentionMs: number): Promise<number> {
  return deleteEnded(deps.pool, deps.clock.now().subtract({ milliseconds: retentionMs }), PURGE_BATCH);
}
