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

const PROFILE_BURST = 5;
const PROFILE_EVERY_MS = 10_000;

/** Counts how often a node declares another address or version: each time is a change of the directory for everybody. */
export interface ProfileGuard {
  /** False above five at once and one per ten seconds. */
  admits(nowMs: number): boolean;
}

export function createProfileGuard(): ProfileGuard {
  let tokens = PROFILE_BURST;
  let refilledAtMs = 0;
  return {
    admits: (nowMs) => {
      tokens = Math.min(PROFILE_BURST, tokens + (nowMs - refilledAtMs) / PROFILE_EVERY_MS);
      refilledAtMs = nowMs;
      if (tokens < 1) return false;
      tokens -= 1;
      return true;
    },
  };
}
