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
  /** Whether there is a failure among those that no formula has seen before. */
  hasFailed: boolean;
}

export function newTally(standing: Standing): Tally {
  return { standing, counts: new Map(), hasFailed: false };
}

export function addToTally(tally: Tally, entry: Evidence, formula: Formula, isNew: boolean): void {
  tally.standing = formula.apply(tally.standing, entry);
  tally.counts.set(entry.kind, (tally.counts.get(entry.kind) ?? 0) + entry.count);
  tally.hasFailed ||= isNew && isBad(entry.kind);
}

/**
 * What new evidence makes of a node. Only a failure shuts out: after an admin has brought a node back without a reset, its
 * first success must not be what throws it out again, nor may another formula throw out many at once for what is long past.
 */
export function assess(
  before: { readonly belowSince: Temporal.Instant | undefined },
  { standing, counts, hasFailed }: Tally,
  thresholds: Thresholds,
  now: Temporal.Instant,
): Assessment {
  const judgement = judge(standing, thresholds, before, now);
  return {
    standing,
    belowSince: judgement.belowSince,
    isOnProbation: judgement.isOnProbation,
    disqualification: hasFailed ? judgement.disqualification : undefined,
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
