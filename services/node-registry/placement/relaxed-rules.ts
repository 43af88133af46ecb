import type { PlacementCandidate } from "../directory/network-view.ts";
import type { SoftRule } from "./draw.ts";

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
  const heldNetworks = new Set(holders.map((node) => node.peerNetwork));
  const heldRegions = new Set(holders.map((node) => node.region));
  const inFreshNetwork = able.filter((node) => !heldNetworks.has(node.peerNetwork));
  const inFreshRegion = able.filter((node) => !heldRegions.has(node.region));
  const networks = new Set(inFreshNetwork.map((node) => node.peerNetwork)).size;
  const regions = new Set(inFreshRegion.map((node) => node.region)).size;
  const different = mostDifferent(
    inFreshNetwork.filter((node) => !heldRegions.has(node.region)),
    missing,
  );
  const relaxed = new Set<SoftRule>();
  if (different >= missing) return relaxed;
  if (networks < missing) relaxed.add("different_subnets");
  if (networks > different || regions < missing) relaxed.add("different_regions");
  return relaxed;
}

/** How many of the nodes, up to `enough`, share neither subnet nor region: a matching of subnets with regions. */
function mostDifferent(nodes: readonly PlacementCandidate[], enough: number): number {
  const regionsOf = new Map(
    [...Map.groupBy(nodes, (node) => node.peerNetwork)].map(([network, inNetwork]) => [
      network,
      new Set(inNetwork.map((node) => node.region)),
    ]),
  );
  const networkIn = new Map<string, string>();
  const match = (network: string, tried: Set<string>): boolean => {
    for (const region of regionsOf.get(network) ?? []) {
      if (tried.has(region)) continue;
      tried.add(region);
      const other = networkIn.get(region);
      if (other !== undefined && !match(other, tried)) continue;
      networkIn.set(region, network);
      return true;
    }
    return false;
  };
  for (const network of regionsOf.keys()) {
    if (networkIn.size >= enough) break;
    match(network, new Set());
  }
  return networkIn.size;
}
