import type { Clock } from "#platform/time/clock.ts";

/** What every failed login leaves for its hash; more only where hashes have taken longer. */
const USUAL_SHARE = 0.75;
const MARGIN = 1.2;
/** A process that stood still for a while must not slow its answers down for minutes. */
const MAX_STEPS = 4;

/**
 * How long after its arrival a failed login is answered: at a multiple of `stepMs` that depends on when its hash could
 * begin and on what hashes take at the moment, never on how long this one took. So a slow imported hash shows in no
 * answer, neither behind a queue nor on a machine that is busy.
 */
export function failureAnswerMs(hashBeganMs: number, elapsedMs: number, stepMs: number, slowestMs = 0): number {
  if (stepMs === 0) return elapsedMs;
  const hashMs = Math.min(Math.max(USUAL_SHARE * stepMs, MARGIN * slowestMs), MAX_STEPS * stepMs);
  const planned = Math.ceil((hashBeganMs + hashMs) / stepMs) * stepMs;
  return elapsedMs <= planned ? planned : Math.ceil(elapsedMs / stepMs) * stepMs;
}

/** The slowest hash of late, of whatever kind. */
export interface HashPace {
  hashed(ms: number): void;
  slowestMs(): number;
}

const HALF_LIFE_MS = 60_000;

/** Remembers the slowest, half as well each minute. */
export function createHashPace(clock: Clock): HashPace {
  let slowest = 0;
  let atMs = clock.monotonicMs();
  const now = () => slowest * 0.5 ** ((clock.monotonicMs() - atMs) / HALF_LIFE_MS);
  return {
    slowestMs: now,
    hashed: (ms) => {
      if (ms < now()) return;
      slowest = ms;
      atMs = clock.monotonicMs();
    },
  };
}
