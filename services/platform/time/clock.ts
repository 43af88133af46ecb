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

/** A timer of Node that is to take longer fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Temporal.Now.instant(),
  monotonicMs: () => performance.now(),
  sleep: async (ms, signal) => {
    if (signal?.aborted) return;
    const options = signal === undefined ? {} : { signal };
    try {
      let leftMs = ms;
      for (; leftMs > MAX_TIMER_MS; leftMs -= MAX_TIMER_MS) await delay(MAX_TIMER_MS, undefined, options);
      await delay(leftMs, undefined, options);
    } catch (error) {
      if (!signal?.aborted) throw error;
    }
  },
};
