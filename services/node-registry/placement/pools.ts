import type { PlacementCandidate } from "../directory/network-view.ts";
import type { Pools } from "./draw.ts";
import { brokenHardRule, type Crowding, crowdingOf, diversityOf, scoreOf, scorePartsOf } from "./scoring.ts";
import { layOut, type WeightedNode } from "./weighted-layout.ts";

export interface BuiltPools extends Pools {
  readonly crowding: Crowding;
  readonly eligibleCount: number;
  readonly establishedCount: number;
}

/** Everybody who can take a chunk of this size, weighted by score. About 0.1 ms per thousand nodes. */
export function buildPools(
  candidates: readonly PlacementCandidate[],
  assignedBytesOf: (rowId: bigint) => number,
  sizeBytes: number,
): BuiltPools {
  const eligible = candidates.filter(
    (candidate) => brokenHardRule(candidate, assignedBytesOf(candidate.rowId), sizeBytes) === undefined,
  );
  const crowding = crowdingOf(eligible);
  const established: WeightedNode[] = [];
  const probation: WeightedNode[] = [];
  for (const candidate of eligible) {
    const parts = scorePartsOf(candidate, assignedBytesOf(candidate.rowId), diversityOf(candidate, crowding));
    const node = {
      rowId: candidate.rowId,
      network: candidate.peerNetwork,
      region: candidate.region,
      weight: scoreOf(parts),
    };
    (candidate.isOnProbation ? probation : established).push(node);
  }
  return {
    established: layOut(established),
    probation: layOut(probation),
    crowding,
    eligibleCount: eligible.length,
    establishedCount: established.length,
  };
}
