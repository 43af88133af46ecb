import type { Evidence, EvidenceKind, Formula, Standing } from "./formula.ts";
import { judge, type Thresholds } from "./standing.ts";

export interface Assessment {
  readonly standing: Standing;
  readonly belowSince: Temporal.Instant | undefined;
  readonly isOnProbation: boolean;
  readonly disqualification: string | undefined;
  /** What the new entries were, in English. */
  readonly evidence: string;
}

/** New entries of a node, applied one after the other; a whole log may be among them, so they are not kept. */
export interface Tally {
  standing: Standing;
  readonly counts: Map<EvidenceKind, number>;
}

export function newTally(standing: Standing): Tally {
  return { standing, counts: new Map() };
}

export function addToTally(tally: Tally, entry: Evidence, formula: Formula): void {
  tally.standing = formula.apply(tally.standing, entry);
  tally.counts.set(entry.kind, (tally.counts.get(entry.kind) ?? 0) + entry.count);
}

/**
 * What new evidence makes of a node. It shuts nobody out who has just done better: after an admin has brought a node back
 * without a reset, its first success must not be what throws it out again.
 */
export function assess(
  before: { readonly standing: Standing; readonly belowSince: Temporal.Instant | undefined },
  { standing, counts }: Tally,
  thresholds: Thresholds,
  now: Temporal.Instant,
): Assessment {
  const judgement = judge(standing, thresholds, before, now);
  const isWorse = standing.score < before.standing.score || [...counts.keys()].some(isBad);
  return {
    standing,
    belowSince: judgement.belowSince,
    isOnProbation: judgement.isOnProbation,
    disqualification: isWorse ? judgement.disqualification : undefined,
    evidence: [...counts].map(([kind, count]) => `${count} ${words[kind]}`).join(", "),
  };
}

const words: Readonly<Record<EvidenceKind, string>> = {
  proof_succeeded: "proved",
  proof_failed: "not held",
  proof_timed_out: "timed out",
  proof_invalid: "invalid",
  loss_reported: "reported lost",
  reset: "reset",
};

function isBad(kind: EvidenceKind): boolean {
  return kind === "proof_failed" || kind === "proof_timed_out" || kind === "proof_invalid";
}
