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

/**
 * What new evidence makes of a node. It shuts nobody out who has just done better: after an admin has brought a node back
 * without a reset, its first success must not be what throws it out again.
 */
export function assess(
  before: { readonly standing: Standing; readonly belowSince: Temporal.Instant | undefined },
  entries: readonly Evidence[],
  rules: { readonly formula: Formula; readonly thresholds: Thresholds },
  now: Temporal.Instant,
): Assessment {
  let { standing } = before;
  for (const entry of entries) standing = rules.formula.apply(standing, entry);
  const judgement = judge(standing, rules.thresholds, before, now);
  const isWorse = standing.score < before.standing.score || entries.some((entry) => isBad(entry.kind));
  return {
    standing,
    belowSince: judgement.belowSince,
    isOnProbation: judgement.isOnProbation,
    disqualification: isWorse ? judgement.disqualification : undefined,
    evidence: describe(entries),
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

function describe(entries: readonly Evidence[]): string {
  const counts = new Map<EvidenceKind, number>();
  for (const { kind, count } of entries) counts.set(kind, (counts.get(kind) ?? 0) + count);
  return [...counts].map(([kind, count]) => `${count} ${words[kind]}`).join(", ");
}
