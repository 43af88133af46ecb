import { overloaded } from "#platform/rpc/errors.ts";

export interface TurnLimits {
  /** Calls for one key that are under way together. */
  readonly perKey: number;
  /** Calls for one key that may wait. */
  readonly maxWaiting: number;
}

export interface Turns {
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
}

interface Line {
  running: number;
  readonly waiting: (() => void)[];
}

/**
 * Lets the calls for one key pass a few at a time, in order. All reservations of a user wait for the lock of one row: without
 * this a single busy user would fill the whole pool with connections that only wait, and everybody else would stand behind.
 */
export function createTurns(limits: TurnLimits): Turns {
  const lines = new Map<string, Line>();

  async function enter(key: string): Promise<Line> {
    const line = lines.get(key) ?? { running: 0, waiting: [] };
    lines.set(key, line);
    if (line.running < limits.perKey) {
      line.running += 1;
      return line;
    }
    if (line.waiting.length >= limits.maxWaiting) throw overloaded("too many calls for this user at once", 1_000);
    const { promise, resolve } = Promise.withResolvers<void>();
    line.waiting.push(resolve);
    await promise;
    return line;
  }

  function leave(key: string, line: Line): void {
    const next = line.waiting.shift();
    // The turn passes on directly, so that no newcomer overtakes those who wait.
    if (next === undefined) line.running -= 1;
    else next();
    if (line.running === 0) lines.delete(key);
  }

  return {
    run: async (key, work) => {
      const line = await enter(key);
      try {
        return await work();
      } finally {
        leave(key, line);
      }
    },
  };
}
