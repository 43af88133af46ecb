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

export async function cleanOnce(deps: Deps): Promise<void> {
  const now = deps.clock.now();
  try {
    const before = now.subtract({ hours: 24 * KEEP_SESSIONS_DAYS });
    let deleted = BATCH;
    while (deleted === BATCH) deleted = await deleteOldSessions(deps.pool, before, BATCH);
    await deleteQuietThrottles(deps.pool, now);
    await deleteFullRates(deps.pool, now);
  } catch (error) {
    deps.log.warn({ err: error }, "old rows could not be removed, trying again in an hour");
  }
}
