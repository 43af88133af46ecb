import type { Roster } from "./roster.ts";
import { brokenHardRule, diversityOf, roomOf, scoreOf, scorePartsOf } from "./scoring.ts";
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
 * Everybody who can take a chunk of this size, weighted by score. Two passes without garbage: 10 ms for 100,000 nodes.
 * `assignedBytes` is by Number(rowId), and looked through instead of asked for each node: few nodes are in it.
 */
export function buildPools(roster: Roster, assignedBytes: ReadonlyMap<number, number>, sizeBytes: number): Pools {
  const { nodes, regions, networks } = roster;
  const taken = new Float64Array(nodes.length);
  for (const [rowId, bytes] of assignedBytes) {
    const at = roster.positions.get(rowId);
    if (at !== undefined) taken[at] = bytes;
  }
  // Negative: not eligible.
  const room = new Float64Array(nodes.length);
  const inRegion = new Int32Array(roster.regionNames.length);
  const inNetwork = new Int32Array(roster.networkNames.length);
  let total = 0;
  nodes.forEach((node, at) => {
    const roomBytes = roomOf(node, taken[at] ?? 0);
    const isEligible = brokenHardRule(node, roomBytes, sizeBytes) === undefined;
    room[at] = isEligible ? roomBytes : -1;
    if (!isEligible) return;
    total += 1;
    add(inRegion, regions[at] ?? 0);
    add(inNetwork, networks[at] ?? 0);
  });
  const established = emptySums(nodes.length);
  const probation = emptySums(nodes.length);
  nodes.forEach((node, at) => {
    let weight = 0;
    const roomBytes = room[at] ?? -1;
    if (roomBytes >= 0) {
      const sharingRegion = inRegion[regions[at] ?? 0] ?? 1;
      const sharingNetwork = inNetwork[networks[at] ?? 0] ?? 1;
      const diversity = diversityOf({ sharingNetwork, sharingRegion, total });
      weight = Math.max(LEAST_WEIGHT, scoreOf(scorePartsOf(node, roomBytes, diversity)));
    }
    append(established, at, node.isOnProbation ? 0 : weight);
    append(probation, at, node.isOnProbation ? weight : 0);
  });
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
