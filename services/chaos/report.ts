import type { ChaosResult } from "./run.ts";

const SHOWN = 12;

export function isHeld({ verdicts, unrest }: ChaosResult): boolean {
  return unrest.length === 0 && verdicts.every(({ problems }) => problems.length === 0);
}

/** One line for each promise, and below a broken one what contradicts it. */
export function reportOf(result: ChaosResult): string {
  const lines = result.verdicts.flatMap(({ number, title, evidence, problems }) => [
    `${problems.length === 0 ? "held  " : "BROKEN"} ${number === 0 ? "*" : number} ${title}`,
    `         ${evidence}`,
    ...problems.slice(0, SHOWN).map((problem) => `         - ${problem}`),
    ...(problems.length > SHOWN ? [`         - and ${problems.length - SHOWN} more`] : []),
  ]);
  const unrest = result.unrest.map((reason) => `BROKEN * ${reason}`);
  return [...lines, ...unrest].join("\n");
}
