import type { Roster } from "./roster.ts";
import { diversityOf, keepsHardRules, roomOf, SCORE_SHARES, scoreOf, scorePartsOf } from "./scoring.ts";
import { mostDifferent, type Spread } from "./variety.ts";
import type { Sums } from "./weighted-draw.ts";

/** Nodes to draw from, apart for those on probation, so that these get a share and not their weight. */
export interface Pools {
  readonly roster: Roster;
  readonly established: Sums;
  readonly probation: Sums;
  /** How many nodes of each can share neither subnet nor region: counted up to MOST_VARIETY. */
  readonly variety: { readonly established: number; readonly probation: number };
}

// More than the replicas of one chunk, and than the subnets and regions that their nodes take away from each other.
const MOST_VARIETY = 64;
const NOTHING_HELD = { regions: new Set<number>(), networks: new Set<number>() };

// A node with the worst of everything can still be drawn where nobody else is left.
const LEAST_WEIGHT = 1e-6;

/**
 * Everybody who can take a chunk of this size, weighted by score. One pass over the nodes, which lie all over the memory,
 * and one over arrays. `assignedBytes` is by Number(rowId), and looked through instead of asked for each node: few nodes
 * are in it.
 */
export function buildPools(roster: Roster, assignedBytes: ReadonlyMap<number, number>, sizeBytes: number): Pools {
  const { nodes, regions, networks } = roster;
  const taken = new Float64Array(nodes.length);
  for (const [rowId, bytes] of assignedBytes) {
    const at = roster.positions.get(rowId);
    if (at !== undefined) taken[at] = bytes;
  }
  // What a node's score is without its diversity, which depends on all others. Negative: not eligible.
  const scores = new Float64Array(nodes.length);
  const onProbation = new Uint8Array(nodes.length);
  const inRegion = new Int32Array(roster.regionNames.length);
  const inNetwork = new Int32Array(roster.networkNames.length);
  let total = 0;
  nodes.forEach((node, at) => {
    const roomBytes = roomOf(node, taken[at] ?? 0);
    const isEligible = keepsHardRules(node, roomBytes, sizeBytes);
    scores[at] = isEligible ? scoreOf(scorePartsOf(node, roomBytes, 0)) : -1;
    onProbation[at] = node.isOnProbation ? 1 : 0;
    if (!isEligible) return;
    total += 1;
    add(inRegion, regions[at] ?? 0);
    add(inNetwork, networks[at] ?? 0);
  });
  const established = emptySums(nodes.length);
  const probation = emptySums(nodes.length);
  for (let at = 0; at < scores.length; at += 1) {
    const score = scores[at] ?? -1;
    let weight = 0;
    if (score >= 0) {
      const sharingRegion = inRegion[regions[at] ?? 0] ?? 1;
      const sharingNetwork = inNetwork[networks[at] ?? 0] ?? 1;
      const diversity = diversityOf({ sharingNetwork, sharingRegion, total });
      weight = Math.max(LEAST_WEIGHT, score + SCORE_SHARES.diversity * diversity);
    }
    append(established, at, onProbation[at] === 0 ? weight : 0);
    append(probation, at, onProbation[at] === 0 ? 0 : weight);
  }
  const varietyOf = (weights: Sums) => mostDifferent(spreadOf(roster, weights, []), NOTHING_HELD, MOST_VARIETY);
  const variety = { established: varietyOf(established), probation: varietyOf(probation) };
  return { roster, established, probation, variety };
}

/** The subnets of those who have a weight and are not left out, by their numbers in the roster. */
export function spreadOf(roster: Roster, { counts }: Sums, out: readonly number[]): Spread<number> {
  const hasSomebody = (start: number, end: number) => {
    const left = out.filter((at) => at >= start && at < end && counts[at + 1] !== counts[at]);
    return (counts[end] ?? 0) - (counts[start] ?? 0) > new Set(left).size;
  };
  function* networks(region: number): Generator<number> {
    for (const { start, end } of roster.subnetsOf[region] ?? []) {
      if (hasSomebody(start, end)) yield roster.networks[start] ?? 0;
    }
  }
  return {
    *[Symbol.iterator]() {
      for (let region = 0; region < roster.subnetsOf.length; region += 1) {
        yield [region, { [Symbol.iterator]: () => networks(region) }] as const;
      }
    },
  };
}

function emptySums(length: number): Sums {
  return { sums: new Float64Array(length + 1), counts: new Int32Array(length + 1) };
}

function append({ sums, counts }: Sums, at: number, weight: number): void {
  sums[at + 1] = (sums[at] ?? 0) + weight;
  counts[at + 1] = (counts[at] ?? 0) + (weight > 0 ? 1 : 0);
}

function add(counts: Int32Array, index: number): void {
  counts[index] = (counts[index] ?? 0) + 1;
}
