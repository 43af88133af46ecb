import type { PlacementCandidate } from "../directory/network-view.ts";
import type { SoftRule } from "./draw.ts";
import { type Held, mostDifferent, type Spread } from "./variety.ts";

/**
 * The rules that must give way for so many more replicas on nodes that fulfil the hard rules, in the order in which the draw
 * gives way, where none of them falls to nodes on probation by chance. Where established nodes and those on probation have
 * to share the replicas among them, it may do with fewer regions than there are.
 */
export function rulesToRelax(
  able: readonly PlacementCandidate[],
  holders: readonly PlacementCandidate[],
  missing: number,
): ReadonlySet<SoftRule> {
  const held = heldBy(holders);
  const established = able.filter((node) => !node.isOnProbation);
  const networks = Math.min(missing, newNetworks(able, held));
  const ownNetwork = Math.min(missing, newNetworks(established, held));
  const ofEstablished = ownNetwork + Math.min(missing - networks, established.length - ownNetwork);
  const isVaried =
    newRegions(able, held) >= missing &&
    newRegions(established, held) >= ofEstablished &&
    mostDifferent(spreadOver(established), held, ownNetwork) === ownNetwork &&
    mostDifferent(spreadOver(able), held, networks) === networks;
  const relaxed = new Set<SoftRule>();
  if (networks < missing) relaxed.add("different_subnets");
  if (!isVaried) relaxed.add("different_regions");
  if (ofEstablished < missing) relaxed.add("probation_share");
  return relaxed;
}

function newRegions(nodes: readonly PlacementCandidate[], held: Held<string>): number {
  return new Set(nodes.map((node) => node.region)).difference(held.regions).size;
}

function newNetworks(nodes: readonly PlacementCandidate[], held: Held<string>): number {
  return new Set(nodes.map((node) => node.peerNetwork)).difference(held.networks).size;
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
