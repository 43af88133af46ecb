/** Keys or streams that pause after a failure, each a little longer at every further one. */
export interface Backoffs {
  /** Answers when it may be tried again. A failure during the pause changes nothing: several were under way. */
  failed(name: string, nowMs: number): number;
  /** Begins the count anew; a pause goes on to its end, since what was dropped at its beginning is not read again yet. */
  succeeded(name: string): void;
  /** Lets those whose pause is over go on, and answers the others. To be called when reading starts, and only then. */
  resume(nowMs: number): string[];
  isPaused(name: string): boolean;
  nextAt(): number | undefined;
  readonly size: number;
}

interface State {
  failures: number;
  pausedUntil: number | undefined;
}

/** Exponential from `firstMs` to `mostMs` with full jitter on its upper half, so that many do not return together. */
export function createBackoffs(firstMs: number, mostMs: number, random: () => number = Math.random): Backoffs {
  const states = new Map<string, State>();
  const paused = () => [...states].filter(([, state]) => state.pausedUntil !== undefined);
  return {
    failed: (name, nowMs) => {
      const state = states.get(name) ?? { failures: 0, pausedUntil: undefined };
      states.set(name, state);
      if (state.pausedUntil === undefined) {
        const most = Math.min(mostMs, firstMs * 2 ** state.failures);
        state.failures += 1;
        state.pausedUntil = nowMs + most / 2 + (random() * most) / 2;
      }
      return state.pausedUntil;
    },
    succeeded: (name) => {
      if (states.size === 0) return; // nearly always, and asked for every event
      const state = states.get(name);
      if (state?.pausedUntil === undefined) states.delete(name);
      else state.failures = 0;
    },
    resume: (nowMs) => {
      const still: string[] = [];
      for (const [name, state] of paused()) {
        if ((state.pausedUntil ?? 0) <= nowMs) state.pausedUntil = undefined;
        else still.push(name);
      }
      return still;
    },
    isPaused: (name) => states.get(name)?.pausedUntil !== undefined,
    nextAt: () => {
      const times = paused().map(([, state]) => state.pausedUntil ?? 0);
      return times.length === 0 ? undefined : Math.min(...times);
    },
    get size() {
      return states.size;
    },
  };
}
