import type { Clock } from "#platform/time/clock.ts";

/** The queue is full, or the permit did not come before the deadline. Nothing was done. */
export class HashingBusyError extends Error {
  override readonly name = "HashingBusyError";
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

export interface HashPermits {
  /**
   * Runs `work` with a permit, first come first served. The permit belongs to the work: a caller who is gone meanwhile
   * does not make room while libuv still hashes for it. One who is gone while waiting leaves the queue.
   *
   * @throws HashingBusyError, or the reason of `signal`.
   */
  run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
  state(): { readonly running: number; readonly waiting: number };
}

export interface HashPermitOptions {
  readonly permits: number;
  readonly maxWaiting: number;
  readonly deadlineMs: number;
  readonly clock: Clock;
  /** Tells how long each piece of work waited, in seconds. */
  readonly onWaited?: (seconds: number) => void;
}

interface Waiter {
  readonly admit: () => void;
}

export function createHashPermits(options: HashPermitOptions): HashPermits {
  const { permits, maxWaiting, deadlineMs, clock, onWaited } = options;
  const waiting = new Set<Waiter>();
  let running = 0;

  const release = () => {
    const next = waiting.values().next().value;
    if (next === undefined) running -= 1;
    else next.admit(); // the permit goes over: `running` stays
  };

  const acquire = async (signal: AbortSignal | undefined): Promise<void> => {
    if (running < permits) {
      running += 1;
      return;
    }
    if (waiting.size >= maxWaiting)
      throw new HashingBusyError("the queue for password hashing is full", deadlineMs / 2);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { admit: () => settle(resolve) };
    const stopTimer = new AbortController();
    const settle = (how: () => void) => {
      waiting.delete(waiter);
      stopTimer.abort();
      signal?.removeEventListener("abort", onAbort);
      how();
    };
    const onAbort = () => settle(() => reject(signal?.reason));
    waiting.add(waiter);
    signal?.addEventListener("abort", onAbort, { once: true });
    void clock.sleep(deadlineMs, stopTimer.signal).then(() => {
      if (!waiting.has(waiter)) return;
      settle(() => reject(new HashingBusyError("no permit for password hashing came free in time", deadlineMs / 2)));
    });
    await promise;
  };

  return {
    state: () => ({ running, waiting: waiting.size }),
    run: async (work, signal) => {
      signal?.throwIfAborted();
      const startedMs = clock.monotonicMs();
      await acquire(signal);
      onWaited?.((clock.monotonicMs() - startedMs) / 1_000);
      try {
        return await work();
      } finally {
        release();
      }
    },
  };
}
