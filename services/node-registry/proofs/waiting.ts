/**
 * How long a node has had to answer one challenge, as this process witnessed it. Time counts between two heartbeats of
 * the node that both carried the command, and only as far as this process was listening meanwhile. A gap counts at most
 * as a heartbeat that is rather late: whether a node is gone for longer is a matter of liveness.
 */
export interface Waiting {
  readonly witnessedMs: number;
  /** The last heartbeat whose answer carried the command, on the monotonic clock; undefined before the first. */
  readonly carriedAtMs: number | undefined;
}

export const notCarried: Waiting = { witnessedMs: 0, carriedAtMs: undefined };

/** After any interruption of ours the node gets the whole window anew. */
export function carried(waiting: Waiting, nowMs: number, listeningSinceMs: number, maxGapMs: number): Waiting {
  const { carriedAtMs } = waiting;
  if (carriedAtMs === undefined || carriedAtMs <= listeningSinceMs) return { witnessedMs: 0, carriedAtMs: nowMs };
  return { witnessedMs: waiting.witnessedMs + Math.min(maxGapMs, nowMs - carriedAtMs), carriedAtMs: nowMs };
}

export function isOverdue(waiting: Waiting, windowMs: number, listeningSinceMs: number): boolean {
  return waiting.carriedAtMs !== undefined && waiting.carriedAtMs > listeningSinceMs && waiting.witnessedMs >= windowMs;
}
