import type { PlacementCandidate } from "../directory/network-view.ts";

/** Positions from start (included) to end (excluded). */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * All nodes in an order in which a region is one range and a subnet at most one range per region: leaving out regions,
 * subnets and nodes is then leaving out a few ranges. It changes only when nodes come, go or move, so that following
 * weights and eligibility, which change all the time, is one pass over arrays.
 */
export interface Roster {
  readonly nodes: readonly PlacementCandidate[];
  /** By Number(rowId): a bigint as key costs ten times as much. */
  readonly positions: ReadonlyMap<number, number>;
  /** Index of each position's region and subnet. */
  readonly regions: Int32Array;
  readonly networks: Int32Array;
  /** Each position's own strings: while they are the same objects, comparing them does not look at their characters. */
  readonly regionOf: readonly string[];
  readonly networkOf: readonly string[];
  readonly regionNames: readonly string[];
  readonly networkNames: readonly string[];
  readonly regionRanges: readonly Range[];
  readonly networkRanges: readonly (readonly Range[])[];
  /** Each region's subnets, one after the other. */
  readonly subnetsOf: readonly (readonly Range[])[];
}

export function buildRoster(candidates: readonly PlacementCandidate[]): Roster {
  const regionIds = numbered(candidates.map((node) => node.region));
  const networkIds = numbered(candidates.map((node) => node.peerNetwork));
  const keyed = candidates.map((node) => ({
    node,
    region: regionIds.get(node.region) ?? 0,
    network: networkIds.get(node.peerNetwork) ?? 0,
  }));
  keyed.sort((a, b) => a.region - b.region || a.network - b.network);
  const regions = Int32Array.from(keyed, ({ region }) => region);
  const networks = Int32Array.from(keyed, ({ network }) => network);
  const networkRanges: Range[][] = Array.from({ length: networkIds.size }, () => []);
  const subnetsOf: Range[][] = Array.from({ length: regionIds.size }, () => []);
  for (const range of runs(
    keyed.length,
    (at) => regions[at] === regions[at - 1] && networks[at] === networks[at - 1],
  )) {
    networkRanges[networks[range.start] ?? 0]?.push(range);
    subnetsOf[regions[range.start] ?? 0]?.push(range);
  }
  return {
    nodes: keyed.map(({ node }) => node),
    positions: new Map(keyed.map(({ node }, position) => [Number(node.rowId), position])),
    regions,
    networks,
    regionOf: keyed.map(({ node }) => node.region),
    networkOf: keyed.map(({ node }) => node.peerNetwork),
    regionNames: [...regionIds.keys()],
    networkNames: [...networkIds.keys()],
    // Region numbers rise along the order, so the runs are in their order too.
    regionRanges: [...runs(keyed.length, (at) => regions[at] === regions[at - 1])],
    networkRanges,
    subnetsOf,
  };
}

/** Whether nobody has come, gone or moved since. Entries of the view change in place, so the roster's are the latest. */
export function isCurrent(roster: Roster, candidates: readonly PlacementCandidate[]): boolean {
  if (roster.nodes.length !== candidates.length) return false;
  const { nodes, regionOf, networkOf } = roster;
  return nodes.every(
    (node, at) => node.state !== "deregistered" && node.region === regionOf[at] && node.peerNetwork === networkOf[at],
  );
}

function numbered(names: readonly string[]): Map<string, number> {
  const ids = new Map<string, number>();
  for (const name of names) if (!ids.has(name)) ids.set(name, ids.size);
  return ids;
}

function* runs(length: number, continues: (at: number) => boolean): Generator<Range> {
  let start = 0;
  for (let at = 1; at <= length; at += 1) {
    if (at < length && continues(at)) continue;
    yield { start, end: at };
    start = at;
  }
}
