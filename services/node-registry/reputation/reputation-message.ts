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

type EvidenceInit = MessageInitShape<typeof ReputationEvidenceSchema>;

/** Applies a log anew, part by part, and keeps what is shown of it: the newest entries, with the scores around each. */
export function createArithmetic(formula: Formula) {
  let standing = formula.start;
  let shown: EvidenceInit[] = [];
  return {
    add(entries: readonly ShownEvidence[]): void {
      const added = entries.map((entry) => {
        const previousScore = standing.score;
        standing = formula.apply(standing, entry);
        return toShown(entry, previousScore, standing.score);
      });
      shown = [...shown, ...added].slice(-SHOWN);
    },
    newestFirst: (): EvidenceInit[] => shown.toReversed(),
  };
}

function toShown(entry: ShownEvidence, previousScore: number, score: number): EvidenceInit {
  return {
    occurredAt: toTimestamp(entry.occurredAt),
    kind: kinds[entry.kind],
    count: entry.count,
    chunkHash: entry.chunkHash ?? "",
    commandId: entry.commandId ?? "",
    previousScore,
    score,
    actorId: entry.actor ?? "",
    reason: entry.kind === "reset" ? (entry.reason ?? "") : "",
  };
}

/** The standing with its arithmetic. */
export function toProtoReputation(
  current: {
    readonly standing: Standing;
    readonly unloggedSuccesses: number;
    readonly belowSince: Temporal.Instant | undefined;
  },
  evidence: EvidenceInit[],
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
    evidence,
  };
}
