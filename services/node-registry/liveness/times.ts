/** Spans of liveness, all in proportion to the lease, so that tests can run them scaled. */
export interface LivenessTimes {
  readonly leaseTtlMs: number;
  /**
   * A process that has not renewed its row for this long is late, and so is a sweep: 5 s at a lease of 60 s. Short leases
   * grant more of themselves, because a machine that stands still for half a second is no rare thing.
   */
  readonly lateMs: number;
  /** How long a stopped sweep waits for nodes to return before it goes on by itself. */
  readonly brakeMs: number;
}

export function livenessTimes(leaseTtlMs: number): LivenessTimes {
  return { leaseTtlMs, lateMs: Math.max(leaseTtlMs / 12, Math.min(leaseTtlMs / 3, 1_500)), brakeMs: 15 * leaseTtlMs };
}

/** How far stored heartbeats may be behind those that were answered: 2 s at a lease of 60 s. */
export function storedLagMs(times: LivenessTimes): number {
  return times.leaseTtlMs / 30;
}

/** Often enough that two lost renewals are not yet late. */
export function renewEveryMs(times: LivenessTimes): number {
  return times.lateMs / 5;
}

/** Every second at a lease of 60 s. */
export function sweepEveryMs(times: LivenessTimes): number {
  return Math.max(100, times.leaseTtlMs / 60);
}
