import type { Clock } from "#platform/time/clock.ts";

/** The queue is full, or the turn did not come before the deadline. Nothing was done. */
export class BusyError extends Error {
  override readonly name = "BusyError";
  readonly retryAfterMs: number;

  constructor(message: string, deadlineMs = 2_000) {
    super(message);
    this.retryAfterMs = deadlineMs / 2;
  }
}

/** A semaphore with a bounded queue, first come first served. */
export interface Turns {
  /** @throws BusyError, or the reason of `signal`. */
  take<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
  taken(): number;
  waiting(): number;
}

/** `deadlineMs` bounds the wait; without it the wait ends with the work of those before. */
export function createTurns(
  places: number,
  bounds: { readonly clock: Clock; readonly maxWaiting: number; readonly deadlineMs?: number },
): Turns {
  const { clock, maxWaiting, deadlineMs } = bounds;
  const waiting = new Set<{ readonly admit: () => void }>();
  let taken = 0;

  const wait = async (signal: AbortSignal | undefined): Promise<void> => {
    if (waiting.size >= maxWaiting) throw new BusyError("the queue is full", deadlineMs);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stopTimer = new AbortController();
    const waiter = { admit: () => settle(resolve) };
    const settle = (how: () => void) => {
      waiting.delete(waiter);
      stopTimer.abort();
      signal?.removeEventListener("abort", onAbort);
      how();
    };
    const onAbort = () => settle(() => reject(signal?.reason));
    waiting.add(waiter);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (deadlineMs !== undefined) {
      void clock.sleep(deadlineMs, stopTimer.signal).then(() => {
        if (waiting.has(waiter)) settle(() => reject(new BusyError("no turn came in time", deadlineMs)));
      });
    }
    await promise;
  };

  return {
    taken: () => taken,
    waiting: () => waiting.size,
    take: async (work, signal) => {
      if (taken < places) taken += 1;
      else await wait(signal);
      try {
        return await work();
      } finally {
        const next = waiting.values().next().value;
        // The place goes over to the next one: `taken` stays.
        if (next === undefined) taken -= 1;
        else next.admit();
      }
    },
  };
}
