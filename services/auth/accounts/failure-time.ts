/**
 * How long after its arrival a failed login is answered: at a multiple of `stepMs` that depends on when its hash could
 * begin, never on how long the hash took. So a slow imported hash shows in no answer, not even behind a queue, as long
 * as it takes less than three quarters of a step.
 */
export function failureAnswerMs(hashBeganMs: number, elapsedMs: number, stepMs: number): number {
  if (stepMs === 0) return elapsedMs;
  const planned = Math.ceil((hashBeganMs + 0.75 * stepMs) / stepMs) * stepMs;
  return elapsedMs <= planned ? planned : Math.ceil(elapsedMs / stepMs) * stepMs;
}
