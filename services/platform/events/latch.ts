import type { Clock } from "#platform/time/clock.ts";

/** Wakes a loop that waits for the first of many things. A notice before the wait is not lost. */
export interface Latch {
  notify(): void;
  /** Returns at the next notice, after `ms`, or when `signal` aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

export function createLatch(clock: Clock): Latch {
  let isNotified = false;
  let wake = () => {};
  return {
    notify: () => {
      isNotified = true;
      wake();
    },
    wait: async (ms, signal) => {
      if (!isNotified && ms > 0 && !signal.aborted) {
        const waiting = new AbortController();
        wake = () => waiting.abort();
        signal.addEventListener("abort", wake, { once: true });
        await clock.sleep(ms, waiting.signal);
        signal.removeEventListener("abort", wake);
        wake = () => {};
      }
      isNotified = false;
    },
  };
}
