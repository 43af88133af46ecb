import type { PlacementCandidate } from "../directory/network-view.ts";
import type { SoftRule } from "./draw.ts";
import { type Held, mostDifferent, type Spread } from "./variety.ts";

/**
 * The rules that must give way for so many more replicas on nodes that fulfil the hard rules: in the order in which the
 * draw gives way. Nodes on probation come before less variety, because the draw asks them before it does with less.
 */
export function rulesToRelax(
  able: readonly PlacementCandidate[],
  holders: readonly PlacementCandidate[],
  missing: number,
): ReadonlySet<SoftRule> {
  const relaxed = varietyToRelax(able, holders, missing);
  const established = able.filter((node) => !node.isOnProbation);
  const isShort = established.length < missing;
  if (isShort || !varietyToRelax(established, holders, missing).isSubsetOf(relaxed)) relaxed.add("probation_share");
  return relaxed;
}

/** The draw takes whoever differs in both, then whoever differs in the subnet, then whoever differs in the region. */
function varietyToRelax(
  able: readonly PlacementCandidate[],
  holders: readonly PlacementCandidate[],
  missing: number,
): Set<SoftRule> {
  const held = heldBy(holders);
  const networks = new Set(able.map((node) => node.peerNetwork)).difference(held.networks).size;
  const regions = new Set(able.map((node) => node.region)).difference(held.regions).size;
  const different = mostDifferent(spreadOver(able), held, missing);
  const relaxed = new Set<SoftRule>();
  if (different >= missing) return relaxed;
  if (networks < missing) relaxed.add("different_subnets");
  if (networks > different || regions < missing) relaxed.add("different_regions");
  return relaxed;
}

/** The subnets of each region in which the nodes stand. */
export function spreadOver(nodes: readonly PlacementCandidate[]): Spread<string> {
  return new Map(
    [...Map.groupBy(nodes, (node) => node.region)].map(([region, inRegion]) => [
      region,
      new Set(inRegion.map((node) => node.peerNetwork)),
    ]),
  );
}

export function heldBy(holders: readonly PlacementCandidate[]): Held<string> {
  return {
    regions: new Set(holders.map((node) => node.region)),
    networks: new Set(holders.map((node) => node.peerNetwork)),
  };
}
