import type { Roster } from "./roster.ts";
import { diversityOf, keepsHardRules, roomOf, SCORE_SHARES, scoreOf, scorePartsOf } from "./scoring.ts";
import type { Sums } from "./weighted-draw.ts";

/** Nodes to draw from, apart for those on probation, so that these get a share and not their weight. */
export interface Pools {
  readonly roster: Roster;
  readonly established: Sums;
  readonly probation: Sums;
}

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
  return { roster, established, probation };
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
