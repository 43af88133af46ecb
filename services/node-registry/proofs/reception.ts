/**
 * Whether this process could hear the nodes. A deadline may run only while an answer would have been taken, so whatever
 * shows that it would not (a database that failed, an event loop that stood still, the start itself) begins a new
 * stretch of time, and nothing before it counts against anybody.
 */
export interface Reception {
  /** Since when answers could be taken without a break, on the monotonic clock. */
  sinceMs(): number;
  /** An answer could not be taken, or could not have been. */
  broken(): void;
  /** Called regularly: if it comes much later than it should, this process stood still meanwhile. */
  tick(): void;
}

// A tick may be late by this much before it counts as standing still: garbage collection and a busy loop are less.
const MAX_LATE_MS = 2_000;

export function createReception(clock: { monotonicMs(): number; now(): Temporal.Instant }, tickMs: number): Reception {
  let sinceMs = clock.monotonicMs();
  let tickedAtMs = sinceMs;
  let wallMs = clock.now().epochMilliseconds;
  const broken = () => {
    sinceMs = clock.monotonicMs();
  };
  return {
    sinceMs: () => sinceMs,
    broken,
    tick: () => {
      const nowMs = clock.monotonicMs();
      const wallNowMs = clock.now().epochMilliseconds;
      // The monotonic clock of some systems stops while the machine sleeps; the other one does not.
      if (nowMs - tickedAtMs > tickMs + MAX_LATE_MS || wallNowMs - wallMs > tickMs + MAX_LATE_MS) broken();
      tickedAtMs = nowMs;
      wallMs = wallNowMs;
    },
  };
}
