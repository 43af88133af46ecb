import { z } from "zod";
import { duration } from "#platform/config/types.ts";
import { type Formula, type FormulaName, formulaNames, formulas } from "./formula.ts";
import type { Thresholds } from "./standing.ts";

const score = () =>
  z
    .string()
    .regex(/^(0(\.\d+)?|1(\.0+)?)$/, "must be a number from 0 to 1")
    .transform(Number)
    .optional();

export const reputationConfigShape = {
  /** Which formula turns evidence into scores. After a change every node is scored anew from its log. */
  REPUTATION_FORMULA: z.enum(formulaNames).default("additive-1"),
  /** Scores; without them the formula's own thresholds count. */
  REPUTATION_PROBATION_BELOW: score(),
  REPUTATION_DISQUALIFY_BELOW: score(),
  /** How long timeouts alone may keep a node below the threshold before it is shut out. */
  REPUTATION_SILENCE_GRACE: duration().default(7 * 86_400_000),
};

export interface ReputationRules {
  readonly formula: Formula;
  readonly thresholds: Thresholds;
}

export function reputationRules(config: {
  readonly REPUTATION_FORMULA: FormulaName;
  readonly REPUTATION_PROBATION_BELOW?: number | undefined;
  readonly REPUTATION_DISQUALIFY_BELOW?: number | undefined;
  readonly REPUTATION_SILENCE_GRACE: number;
}): ReputationRules {
  const formula = formulas[config.REPUTATION_FORMULA];
  return {
    formula,
    thresholds: {
      probationBelow: config.REPUTATION_PROBATION_BELOW ?? formula.defaultThresholds.probationBelow,
      disqualifyBelow: config.REPUTATION_DISQUALIFY_BELOW ?? formula.defaultThresholds.disqualifyBelow,
      silenceGraceMs: config.REPUTATION_SILENCE_GRACE,
    },
  };
}
