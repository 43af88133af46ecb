import { type Measured, shownFigure, shownNumber, verdictOf } from "./measured.ts";
import { isAbsolute, type Target, type TargetName, targets } from "./targets.ts";

export interface ResultRow {
  readonly target: string;
  readonly baseline: string;
  readonly measured: string;
  readonly limit: string;
  readonly verdict: string;
  readonly command: string;
}

/** A row for each target, also for those that this run left out. */
export function tableOf(measured: readonly Measured[]): readonly ResultRow[] {
  // A target that was measured twice is judged by the worse run.
  const worst = new Map<TargetName, Measured>();
  for (const result of measured) {
    const before = worst.get(result.name);
    if (before === undefined || isWorse(result, before)) worst.set(result.name, result);
  }
  return Object.entries(targets).map(([name, target]: [string, Target]) => {
    const result = [...worst.values()].find((candidate) => candidate.name === name);
    return {
      target: target.what,
      baseline: isAbsolute(target) ? "this machine" : target.baseline,
      measured: result === undefined ? "" : shownFigure(result) + reduction(result),
      limit: `${target.direction} ${shownNumber(target.limit)} ${target.unit}`.trim(),
      verdict: result === undefined ? "not measured" : verdictOf(result),
      command: `npm run bench -- ${target.benchmark}`,
    };
  });
}

function reduction({ reducedTo }: Measured): string {
  return reducedTo === undefined ? "" : `, at ${reducedTo}`;
}

function isWorse(a: Measured, b: Measured): boolean {
  return targets[a.name].direction === "at least" ? a.value < b.value : a.value > b.value;
}
