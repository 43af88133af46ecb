import type { Cut } from "./cut.store.ts";

/** Both sides of one user at one position of node-registry's outbox. */
export interface Comparison extends Cut {
  readonly ledgerBytes: bigint;
  readonly registryBytes: bigint;
}

export type Verdict =
  | { readonly kind: "equal"; readonly at: Comparison }
  | { readonly kind: "differs"; readonly at: Comparison }
  | { readonly kind: "undecided" };

/** A difference counts once it was the same this many times: events that overtook each other settle in between. */
export const LOOKS = 3;

/** The last looks decide: equal at once, different only when all of them show the same difference. */
export function verdictOf(looks: readonly Comparison[]): Verdict {
  const last = looks.at(-1);
  if (last === undefined) return { kind: "undecided" };
  const drift = driftOf(last);
  if (drift === 0n) return { kind: "equal", at: last };
  const recent = looks.slice(-LOOKS);
  const isStable = recent.length === LOOKS && recent.every((look) => driftOf(look) === drift);
  return isStable ? { kind: "differs", at: last } : { kind: "undecided" };
}

/** What the ledger has too much (negative: too little). */
export function driftOf(comparison: Comparison): bigint {
  return comparison.ledgerBytes - comparison.registryBytes;
}
