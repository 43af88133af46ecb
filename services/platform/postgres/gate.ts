import { PoolExhaustedError } from "./errors.ts";

export interface GateOptions {
  readonly size: number;
  readonly maxWaiting: number;
  readonly waitMs: number;
  readonly onWaited?: (seconds: number) => void;
  readonly onHeld?: (seconds: number) => void;
  readonly onRefused?: () => void;
}

export interface Gate {
  run<T>(work: () => Promise<T>): Promise<T>;
  inUse(): number;
  waiting(): number;
}

const cure = "look at the pool's hold_seconds and at slow statements, then raise DATABASE_POOL_MAX_OVERFLOW";

interface Waiter {
  readonly admit: () => void;
}

/**
 * Admits as many callers at a time as the pool has connections; the rest waits in order, for `waitMs` at most and in
 * bounded number. Slonik's own queue has neither limit.
 */
export function createGate(options: GateOptions): Gate {
  const queue = new Set<Waiter>();
  let inUse = 0;

  function wait(): Promise<void> {
    if (queue.size >= options.maxWaiting) {
      options.onRefused?.();
      throw new PoolExhaustedError(
        `${queue.size} callers already wait for a database connection: ${cure}`,
        options.waitMs,
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { admit: resolve };
    queue.add(waiter);
    const timer = setTimeout(() => {
      if (!queue.delete(waiter)) return;
      options.onRefused?.();
      reject(
        new PoolExhaustedError(
          `no database connection became free within ${options.waitMs} ms: ${cure}`,
          options.waitMs,
        ),
      );
    }, options.waitMs);
    return promise.finally(() => clearTimeout(timer));
  }

  function leave(): void {
    const [next] = queue;
    if (next === undefined) {
      inUse -= 1;
      return;
    }
    // The permit passes on directly, so that no newcomer overtakes those who wait.
    queue.delete(next);
    next.admit();
  }

  return {
    inUse: () => inUse,
    waiting: () => queue.size,
    run: async (work) => {
      const askedAt = performance.now();
      if (inUse < options.size) inUse += 1;
      else await wait();
      const admittedAt = performance.now();
      options.onWaited?.((admittedAt - askedAt) / 1_000);
      try {
        return await work();
      } finally {
        options.onHeld?.((performance.now() - admittedAt) / 1_000);
        leave();
      }
    },
  };
}
