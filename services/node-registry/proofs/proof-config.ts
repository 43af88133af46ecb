import { duration, integer } from "#platform/config/types.ts";

export const proofConfigShape = {
  /** Between two proofs of a replica on an established node; new nodes and low scores are asked sooner. */
  PROOF_INTERVAL: duration({ min: 1_000, max: 365 * 86_400_000 }).default(86_400_000),
  /** Within this time after its assignment a replica is asked for the first time. */
  PROOF_FIRST_WITHIN: duration({ min: 100, max: 365 * 86_400_000 }).default(3_600_000),
  /** What a node has to answer, counted only while it beats and we listen. */
  PROOF_ANSWER_WINDOW: duration({ min: 500, max: 86_400_000 }).default(120_000),
  /** Until a miss or a wrong answer is asked again. */
  PROOF_RETRY_DELAY: duration({ min: 100, max: 86_400_000 }).default(120_000),
  /** Challenges per second that this process hands out. */
  PROOF_RATE: integer({ min: 1, max: 100_000 }).default(1_000),
  /** Open challenges of one node at a time. */
  PROOF_NODE_BUDGET: integer({ min: 1, max: 16 }).default(4),
  /** How long verdicts are remembered for repeated answers; successes are counted in reputations after it. */
  PROOF_VERDICT_RETENTION: duration({ min: 100, max: 86_400_000 }).default(300_000),
};

export interface ProofConfig {
  readonly PROOF_INTERVAL: number;
  readonly PROOF_FIRST_WITHIN: number;
  readonly PROOF_ANSWER_WINDOW: number;
  readonly PROOF_RETRY_DELAY: number;
  readonly PROOF_RATE: number;
  readonly PROOF_NODE_BUDGET: number;
  readonly PROOF_VERDICT_RETENTION: number;
}
