import { type Clock, systemClock } from "#platform/time/clock.ts";

/** The real clock, with a wall time that a test moves or stops. Timers run as ever. */
export interface ShiftedClock extends Clock {
  jump(ms: number): void;
  /** From now on only `jump` moves the wall time. */
  freeze(): void;
  unfreeze(): void;
}

export function createShiftedClock(): ShiftedClock {
  let offsetMs = 0;
  let frozen: Temporal.Instant | undefined;
  return {
    ...systemClock,
    now: () => (frozen ?? systemClock.now()).add({ milliseconds: offsetMs }),
    jump: (ms) => {
      offsetMs += ms;
    },
    freeze: () => {
      frozen ??= systemClock.now();
    },
    unfreeze: () => {
      frozen = undefined;
    },
  };
}
