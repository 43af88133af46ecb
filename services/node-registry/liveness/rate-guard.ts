const MAX_PER_SECOND = 50;
const MAX_HOT_SECONDS = 10;

/** Counts one node's heartbeats by the second. */
export interface RateGuard {
  /** False once more than 50 per second have come in each of 10 seconds in a row. */
  admits(nowMs: number): boolean;
}

export function createRateGuard(): RateGuard {
  let secondStartedAtMs = 0;
  let inSecond = 0;
  let hotSeconds = 0;
  return {
    admits: (nowMs) => {
      const elapsedMs = nowMs - secondStartedAtMs;
      if (elapsedMs >= 1_000) {
        // A second in between without any heartbeat is a calm one.
        hotSeconds = inSecond > MAX_PER_SECOND && elapsedMs < 2_000 ? hotSeconds + 1 : 0;
        secondStartedAtMs = nowMs;
        inSecond = 0;
      }
      inSecond += 1;
      return hotSeconds < MAX_HOT_SECONDS;
    },
  };
}
