import { type Clock, systemClock } from "#platform/time/clock.ts";

/** The real clock, with a wall time that a test moves. Timers run as ever. */
export interface ShiftedClock extends Clock {
  jump(ms: number): void;
}

export function createShiftedClock(): ShiftedClock {
  let offsetMs = 0;
  return {
    ...systemClock,
    now: () => systemClock.now().add({ milliseconds: offsetMs }),
    jump: (ms) => {
      offsetMs += ms;
    },
  };
}
