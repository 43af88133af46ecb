import { appendFileSync } from "node:fs";
import { type Target, type TargetName, targets } from "./targets.ts";

/** One line of the file that a benchmark leaves for the runner. */
export interface Measured {
  readonly name: TargetName;
  /** Median of the rounds. */
  readonly value: number;
  readonly lowest: number;
  readonly highest: number;
  readonly rounds: number;
  /** The size that it was measured at, where that is smaller than the one that the target names. */
  readonly reducedTo?: string;
  /** By the short form, which judges only what all of its rounds agree on. */
  readonly isShort?: true;
}

export type BenchVerdict = "met" | "not met" | "not judged" | "reduced";

const FEWEST_ROUNDS = 3;

/** The short form answers in three minutes for all benchmarks: fewer rounds, smaller tables. */
export const isShort = process.env.BENCH_FORM === "short";

/**
 * Prints the median of the rounds beside its target and hands both to the runner. A missed target makes the process end
 * with 1, unless the size was reduced or the rounds were too short to judge: then the figure is shown and says nothing
 * about the promise.
 */
export function measured(name: TargetName, rounds: number | readonly number[], reducedTo?: string): void {
  const values = (typeof rounds === "number" ? [rounds] : [...rounds]).sort((a, b) => a - b);
  const value = values[Math.floor(values.length / 2)];
  const [lowest, highest] = [values[0], values.at(-1)];
  if (value === undefined || lowest === undefined || highest === undefined) throw new Error(`${name}: no rounds`);
  const line: Measured = {
    ...{ name, value, lowest, highest, rounds: values.length },
    ...(reducedTo === undefined ? {} : { reducedTo }),
    ...(isShort ? { isShort } : {}),
  };
  const target: Target = targets[name];
  const verdict = verdictOf(line);
  if (verdict === "not met") process.exitCode = 1;
  console.log(
    `${verdict.padEnd(10)} ${target.what}: ${shownFigure(line)}, ${target.direction} ${shownNumber(target.limit)} ${target.unit}` +
      (reducedTo === undefined ? "" : ` (measured at ${reducedTo})`),
  );
  const file = process.env.BENCH_RESULTS;
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(line)}\n`);
}

/** The median decides; the rounds of the short form are few and short, so there they must all say the same. */
export function verdictOf({ name, value, lowest, highest, rounds, reducedTo, ...form }: Measured): BenchVerdict {
  if (reducedTo !== undefined) return "reduced";
  const { limit, direction } = targets[name];
  const holds = (figure: number) => (direction === "at least" ? figure >= limit : figure <= limit);
  if (form.isShort && (rounds < FEWEST_ROUNDS || holds(lowest) !== holds(highest))) return "not judged";
  return holds(value) ? "met" : "not met";
}

/** The median with its unit, and the spread where there were rounds. */
export function shownFigure({ name, value, lowest, highest, rounds }: Measured): string {
  const figure = `${shownNumber(value)} ${targets[name].unit}`.trim();
  return rounds === 1 ? figure : `${figure} (${shownNumber(lowest)} to ${shownNumber(highest)}, ${rounds} rounds)`;
}

export function shownNumber(value: number): string {
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}
