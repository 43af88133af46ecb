/** Where a signing key is in its life. */
export interface KeyLife {
  readonly keyId: string;
  readonly state: "next" | "current" | "previous";
  readonly createdAt: Temporal.Instant;
  readonly currentSince: Temporal.Instant | null;
  readonly previousSince: Temporal.Instant | null;
}

export interface RotationRules {
  /** How long a key signs. */
  readonly intervalMs: number;
  /** How long a key must have been published before it signs: twice what verifiers may cache the key set. */
  readonly publishMs: number;
  /** How long a key is published after its last signature: the longest token, clock differences, and what replicas lag. */
  readonly retireMs: number;
}

export interface RotationPlan {
  /** The next key becomes current, and the current one previous. */
  readonly promote: boolean;
  readonly makeNext: boolean;
  readonly makeCurrent: boolean;
  readonly drop: readonly string[];
  /** Why a rotation that was asked for does not happen yet. */
  readonly tooEarlyMs: number;
}

/** What to do with the keys now. `wanted` asks for a rotation outside of the schedule. */
export function planRotation(
  keys: readonly KeyLife[],
  now: Temporal.Instant,
  rules: RotationRules,
  wanted = false,
): RotationPlan {
  const current = keys.find((key) => key.state === "current");
  const next = keys.find((key) => key.state === "next");
  const isDue = current?.currentSince != null && ageMs(current.currentSince, now) >= rules.intervalMs;
  const missingMs = next === undefined ? rules.publishMs : Math.max(0, rules.publishMs - ageMs(next.createdAt, now));
  const promote = current !== undefined && (wanted || isDue) && missingMs === 0;
  const drop = keys.filter((key) => key.previousSince !== null && ageMs(key.previousSince, now) >= rules.retireMs);
  return {
    promote,
    makeNext: next === undefined || promote,
    makeCurrent: current === undefined,
    drop: drop.map((key) => key.keyId),
    tooEarlyMs: wanted && !promote ? missingMs : 0,
  };
}

function ageMs(since: Temporal.Instant, now: Temporal.Instant): number {
  return now.epochMilliseconds - since.epochMilliseconds;
}
