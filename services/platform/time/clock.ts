import { setTimeout as delay } from "node:timers/promises";

/**
 * The only source of time in the services; tests hand in a ManualClock.
 *
 * `now` is the wall clock and may jump. Spans inside one process are measured with `monotonicMs`, which never does.
 * Whatever several processes must agree on (leases, liveness) uses the database's clock instead.
 */
export interface Clock {
  now(): Temporal.Instant;
  monotonicMs(): number;
  /** Resolves after `ms`, or early when `signal` aborts; it never rejects, so loops look at the signal themselves. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Temporal.Now.instant(),
  monotonicMs: () => performance.now(),
  sleep: async (ms, signal) => {
    if (signal?.aborted) return;
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      if (!signal?.aborted) throw error;
    }
  },
};
