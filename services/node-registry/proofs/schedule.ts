/** When replicas are due, and how fast they are asked for. */
export interface ProofPace {
  /** Between two proofs of a replica on an established node with full reputation. */
  readonly intervalMs: number;
  /** Until a miss or a wrong answer is asked again. */
  readonly retryMs: number;
  /** Until something that was due but not stored yet is looked at again. */
  readonly firstWithinMs: number;
}

export interface ProofSubject {
  readonly reputationScore: number;
  readonly isOnProbation: boolean;
}

const LOWEST_FACTOR = 0.1;
const PROBATION_FACTOR = 0.25;

/**
 * Until the next proof after a success: the interval, less for nodes on probation (new ones are) and by the square of a
 * lower score, give or take a half. The spread lets replicas that were stored, or proved, together drift apart, so that
 * neither a node nor the registry ever has them all due at once.
 */
export function nextProofDelayMs(pace: ProofPace, subject: ProofSubject, random: () => number): number {
  const byScore = Math.max(LOWEST_FACTOR, subject.reputationScore ** 2);
  const byYouth = subject.isOnProbation ? PROBATION_FACTOR : 1;
  return Math.round(pace.intervalMs * Math.min(byScore, byYouth) * (0.5 + random()));
}

/** The longest that anything is put off, with room for clocks that differ. */
export function longestDelayMs({ intervalMs, retryMs, firstWithinMs }: ProofPace): number {
  return Math.max(1.5 * intervalMs, 1.5 * retryMs, firstWithinMs) + 600_000;
}

/** Within minutes, but not at once: what made the node miss the first one may still last. */
export function retryDelayMs(pace: ProofPace, random: () => number): number {
  return Math.round(pace.retryMs * (0.5 + random()));
}

/** A bucket of tokens that fills steadily: a budget per second without a burst after an idle time. */
export interface Budget {
  /** Whether there is any token. */
  has(): boolean;
  /** Takes up to `wanted` tokens and answers how many there were. */
  take(wanted: number): number;
  giveBack(tokens: number): void;
}

export function createBudget(clock: { monotonicMs(): number }, perSecond: number): Budget {
  let tokens = perSecond;
  let filledAtMs = clock.monotonicMs();
  function fill(): void {
    const nowMs = clock.monotonicMs();
    tokens = Math.min(perSecond, tokens + ((nowMs - filledAtMs) * perSecond) / 1_000);
    filledAtMs = nowMs;
  }
  return {
    has: () => {
      fill();
      return tokens >= 1;
    },
    take: (wanted) => {
      fill();
      const taken = Math.min(wanted, Math.floor(tokens));
      tokens -= taken;
      return taken;
    },
    giveBack: (unused) => {
      tokens = Math.min(perSecond, tokens + unused);
    },
  };
}
