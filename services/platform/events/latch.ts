/** Wakes a loop that waits for the first of many things. A notice before the wait is not lost. */
export interface Latch {
  notify(): void;
  /** Returns at the next notice, or after `ms`. */
  wait(ms: number): Promise<void>;
}

/**
 * `signal` gives notice when it aborts. A bare timer instead of an abortable sleep: thousands of waits a second, each
 * ended by making an error, took 3 % of the relay's time.
 */
export function createLatch(signal: AbortSignal): Latch {
  let isNotified = signal.aborted;
  let wake: (() => void) | undefined;
  const notify = () => {
    isNotified = true;
    wake?.();
  };
  signal.addEventListener("abort", notify, { once: true });
  return {
    notify,
    wait: async (ms) => {
      if (!isNotified && ms > 0) {
        const { promise, resolve } = Promise.withResolvers<void>();
        const timer = setTimeout(resolve, ms);
        wake = resolve;
        await promise;
        clearTimeout(timer);
        wake = undefined;
      }
      isNotified = false;
    },
  };
}
