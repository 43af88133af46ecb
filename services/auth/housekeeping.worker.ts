import type { Deps } from "./deps.ts";
import { deleteOldSessions } from "./sessions/sessions.store.ts";
import { deleteQuietThrottles } from "./throttle/login-throttles.store.ts";
import { deleteFullRates } from "./throttle/rate-limits.store.ts";

const HOUR_MS = 3_600_000;
/** Ended sessions are kept so long for whoever looks into a theft. */
const KEEP_SESSIONS_DAYS = 30;
const BATCH = 10_000;

/**
 * Removes rows that nothing asks for any more, hourly in every process: the statements are harmless to one another.
 * No decision waits for it, expiry is always part of the query.
 */
export function startHousekeeping(deps: Deps, signal: AbortSignal): AsyncDisposable {
  const stop = new AbortController();
  const ended = AbortSignal.any([signal, stop.signal]);
  const running = (async () => {
    while (!ended.aborted) {
      await deps.clock.sleep(HOUR_MS * (0.9 + Math.random() / 5), ended);
      if (!ended.aborted) await cleanOnce(deps);
    }
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

/** One kind that cannot be removed leaves the others to be. */
export async function cleanOnce(deps: Pick<Deps, "pool" | "clock" | "log">): Promise<void> {
  const { pool, log } = deps;
  const now = deps.clock.now();
  const before = now.subtract({ hours: 24 * KEEP_SESSIONS_DAYS });
  const kinds = {
    sessions: () => deleteOldSessions(pool, before, BATCH),
    throttles: () => deleteQuietThrottles(pool, now, BATCH),
    rates: () => deleteFullRates(pool, now, BATCH),
  };
  for (const [kind, deleteSome] of Object.entries(kinds)) {
    try {
      // In batches: all that a flood of made-up names left in a day is more than one statement may take.
      while ((await deleteSome()) === BATCH);
    } catch (error) {
      log.warn({ err: error, kind }, "old rows could not be removed, trying again in an hour");
    }
  }
}
