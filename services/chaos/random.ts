import { type Random, randomFrom } from "#platform/testing/random.ts";

export function between(random: Random, least: number, most: number): number {
  return least + random() * (most - least);
}

export function pick<T>(random: Random, choices: readonly T[]): T {
  const chosen = choices[Math.floor(random() * choices.length)];
  if (chosen === undefined) throw new Error("nothing to choose from");
  return chosen;
}

/** Numbers of its own, so that how often one actor draws changes nothing for the others. */
export function branch(random: Random): Random {
  return randomFrom(Math.floor(random() * 2 ** 32));
}

export function hexOf(random: Random, bytes: number): string {
  return Array.from({ length: bytes }, () =>
    Math.floor(random() * 256)
      .toString(16)
      .padStart(2, "0"),
  ).join("");
}

/** Version 4 in form; unique within a run. */
export function uuidOf(random: Random): string {
  const hex = hexOf(random, 16);
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20)];
  return parts.join("-");
}
