import type { Standing } from "./formula.ts";

export interface Thresholds {
  /** Below it a node gets only the small share of new chunks that is set aside for probation. */
  readonly probationBelow: number;
  /** Below it a node is shut out. */
  readonly disqualifyBelow: number;
  /** How long a node may stay below it by timeouts alone. */
  readonly silenceGraceMs: number;
}

export interface Judgement {
  readonly isOnProbation: boolean;
  /** Since when the score is below the threshold of disqualification; undefined while it is not. */
  readonly belowSince: Temporal.Instant | undefined;
  /** Why the node is to be shut out, in English; undefined where it is not. */
  readonly disqualification: string | undefined;
}

/**
 * What a standing means. Wrong answers and lost chunks shut a node out at once; timeouts alone only after a grace period
 * without recovery, since silence can come from the way between us.
 */
export function judge(
  standing: Standing,
  thresholds: Thresholds,
  before: { readonly belowSince: Temporal.Instant | undefined },
  now: Temporal.Instant,
): Judgement {
  const isOnProbation = standing.score < thresholds.probationBelow;
  if (standing.score >= thresholds.disqualifyBelow) {
    return { isOnProbation, belowSince: undefined, disqualification: undefined };
  }
  const belowSince = before.belowSince ?? now;
  return { isOnProbation, belowSince, disqualification: reasonOf(standing, thresholds, belowSince, now) };
}

function reasonOf(
  standing: Standing,
  { disqualifyBelow, silenceGraceMs }: Thresholds,
  belowSince: Temporal.Instant,
  now: Temporal.Instant,
): string | undefined {
  if (standing.provenScore < disqualifyBelow) {
    return `reputation ${shown(standing.provenScore)} by failed and invalid proofs is below ${disqualifyBelow}`;
  }
  const belowMs = now.epochMilliseconds - belowSince.epochMilliseconds;
  if (belowMs < silenceGraceMs) return undefined;
  return `reputation ${shown(standing.score)}, timeouts included, has been below ${disqualifyBelow} since ${belowSince}`;
}

function shown(score: number): string {
  return String(Math.round(score * 1_000) / 1_000);
}
