/** What moved, or could have moved, a node's reputation. Stored by these names. */
export type EvidenceKind =
  | "proof_succeeded"
  | "proof_failed"
  | "proof_timed_out"
  | "proof_invalid"
  | "loss_reported"
  | "reset";

/** One entry of the evidence log: `count` things of one kind in a row. */
export interface Evidence {
  readonly kind: EvidenceKind;
  readonly count: number;
}

/**
 * Everything that a formula carries from one entry to the next. A node is shut out only by `provenScore`, which leaves
 * timeouts out: silence can have causes outside of the node, a wrong answer cannot.
 */
export interface Standing {
  readonly score: number;
  readonly provenScore: number;
  /** Running values by name, for formulas that need more than the scores. */
  readonly values: Readonly<Record<string, number>>;
}

/**
 * A rule that turns evidence into a score. Pure and named with a version: whoever has the log and the name comes to the
 * same score. A change of a constant is a new version.
 */
export interface Formula {
  readonly name: string;
  readonly constants: Readonly<Record<string, number>>;
  /** Scores below which a node is on probation and shut out, unless the operator sets others. */
  readonly defaultThresholds: { readonly probationBelow: number; readonly disqualifyBelow: number };
  readonly start: Standing;
  apply(standing: Standing, evidence: Evidence): Standing;
}

/** The original system's rules: +0.01, -0.1, -0.05, -0.2 within 0 and 1; an honest word about a loss costs nothing. */
export const additive1: Formula = (() => {
  const steps: Readonly<Record<Exclude<EvidenceKind, "reset">, number>> = {
    proof_succeeded: 0.01,
    proof_failed: -0.1,
    proof_timed_out: -0.05,
    proof_invalid: -0.2,
    loss_reported: 0,
  };
  const start: Standing = { score: 1, provenScore: 1, values: {} };
  return {
    name: "additive-1",
    constants: steps,
    defaultThresholds: { probationBelow: 0.7, disqualifyBelow: 0.4 },
    start,
    apply: (standing, { kind, count }) => {
      if (kind === "reset") return start;
      const change = steps[kind] * count;
      return {
        score: unit(standing.score + change),
        provenScore: kind === "proof_timed_out" ? standing.provenScore : unit(standing.provenScore + change),
        values: {},
      };
    },
  };
})();

/**
 * Storj's beta model: alpha counts what went well and beta what went badly, both forgetting by lambda with every entry;
 * the score is alpha's share. A node begins with 1,000 successes on its account, so that one bad entry cannot sink it.
 */
export const beta1: Formula = (() => {
  const constants = { lambda: 0.999, weight: 1, alpha_start: 1000, beta_start: 0 };
  const start: Standing = {
    score: 1,
    provenScore: 1,
    values: {
      alpha: constants.alpha_start,
      beta: constants.beta_start,
      proven_alpha: constants.alpha_start,
      proven_beta: constants.beta_start,
    },
  };
  const decay = (count: number) => constants.lambda ** count;
  // The sum of the geometric series: count entries in a row as one step.
  const gain = (count: number) => (constants.weight * (1 - decay(count))) / (1 - constants.lambda);
  return {
    name: "beta-1",
    constants,
    defaultThresholds: { probationBelow: 0.98, disqualifyBelow: 0.96 },
    start,
    apply: (standing, { kind, count }) => {
      if (kind === "reset") return start;
      if (kind === "loss_reported" || count === 0) return standing;
      const isGood = kind === "proof_succeeded";
      const forget = (value: number | undefined, grows: boolean) =>
        decay(count) * (value ?? 0) + (grows ? gain(count) : 0);
      const { values } = standing;
      const alpha = forget(values.alpha, isGood);
      const beta = forget(values.beta, !isGood);
      const isSilence = kind === "proof_timed_out";
      const provenAlpha = isSilence ? (values.proven_alpha ?? 0) : forget(values.proven_alpha, isGood);
      const provenBeta = isSilence ? (values.proven_beta ?? 0) : forget(values.proven_beta, !isGood);
      return {
        score: unit(alpha / (alpha + beta)),
        provenScore: unit(provenAlpha / (provenAlpha + provenBeta)),
        values: { alpha, beta, proven_alpha: provenAlpha, proven_beta: provenBeta },
      };
    },
  };
})();

export const formulas = { "additive-1": additive1, "beta-1": beta1 } as const;
export type FormulaName = keyof typeof formulas;
export const formulaNames = ["additive-1", "beta-1"] as const satisfies readonly FormulaName[];

/** What a whole log comes to. */
export function replay(formula: Formula, log: Iterable<Evidence>): Standing {
  let standing = formula.start;
  for (const evidence of log) standing = formula.apply(standing, evidence);
  return standing;
}

/** Within 0 and 1, and to nine digits: ten times +0.01 must undo -0.1 exactly, or thresholds would depend on rounding. */
function unit(value: number): number {
  return Math.round(Math.min(1, Math.max(0, value)) * 1e9) / 1e9;
}
