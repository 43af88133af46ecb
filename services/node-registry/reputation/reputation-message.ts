import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  ReputationEvidenceKind,
  type ReputationEvidenceSchema,
  type ReputationSchema,
} from "#gen/decentrastore/node_registry/v1/node_explanation_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { EvidenceKind, Formula, Standing } from "./formula.ts";
import type { ReputationRules } from "./reputation-config.ts";

/** An entry of the log as it is shown. */
export interface ShownEvidence {
  readonly kind: EvidenceKind;
  readonly count: number;
  readonly occurredAt: Temporal.Instant;
  readonly chunkHash?: string;
  readonly commandId?: string;
  readonly actor?: string;
  readonly reason?: string;
}

const kinds: Readonly<Record<EvidenceKind, ReputationEvidenceKind>> = {
  proof_succeeded: ReputationEvidenceKind.PROOF_SUCCEEDED,
  proof_failed: ReputationEvidenceKind.PROOF_FAILED,
  proof_timed_out: ReputationEvidenceKind.PROOF_TIMED_OUT,
  proof_invalid: ReputationEvidenceKind.PROOF_INVALID,
  loss_reported: ReputationEvidenceKind.LOSS_REPORTED,
  reset: ReputationEvidenceKind.RESET,
};

const SHOWN = 100;

/** The standing with its arithmetic: the whole log is applied anew, and the newest entries are shown with their scores. */
export function toProtoReputation(
  current: {
    readonly standing: Standing;
    readonly unloggedSuccesses: number;
    readonly belowSince: Temporal.Instant | undefined;
  },
  log: readonly ShownEvidence[],
  { formula, thresholds }: ReputationRules,
): MessageInitShape<typeof ReputationSchema> {
  return {
    score: current.standing.score,
    formula: formula.name,
    parameters: {
      ...formula.constants,
      ...current.standing.values,
      score_without_timeouts: current.standing.provenScore,
      successes_since_last_entry: current.unloggedSuccesses,
      silence_grace_seconds: thresholds.silenceGraceMs / 1_000,
      ...(current.belowSince === undefined ? {} : { below_since: current.belowSince.epochMilliseconds / 1_000 }),
    },
    probationThreshold: thresholds.probationBelow,
    disqualificationThreshold: thresholds.disqualifyBelow,
    evidence: withScores(log, formula).slice(-SHOWN).reverse(),
  };
}

function withScores(
  log: readonly ShownEvidence[],
  formula: Formula,
): MessageInitShape<typeof ReputationEvidenceSchema>[] {
  let standing = formula.start;
  return log.map((entry) => {
    const previousScore = standing.score;
    standing = formula.apply(standing, entry);
    return {
      occurredAt: toTimestamp(entry.occurredAt),
      kind: kinds[entry.kind],
      count: entry.count,
      chunkHash: entry.chunkHash ?? "",
      commandId: entry.commandId ?? "",
      previousScore,
      score: standing.score,
      actorId: entry.actor ?? "",
      reason: entry.kind === "reset" ? (entry.reason ?? "") : "",
    };
  });
}
