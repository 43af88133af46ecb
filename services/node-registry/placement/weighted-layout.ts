/** What the draw must know of a node. */
export interface WeightedNode {
  readonly rowId: bigint;
  readonly network: string;
  readonly region: string;
  readonly weight: number;
}

/** Positions from start (included) to end (excluded). */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * Nodes in an order in which a region is one range and a subnet at most one range per region, with running sums of their
 * weights. Leaving out regions, subnets and nodes is then leaving out a few ranges, and a draw among all the others is
 * exact and takes a binary search, also among a hundred thousand nodes.
 */
export interface WeightedLayout {
  readonly rowIds: readonly bigint[];
  /** sums[i] is the weight of everything before position i. */
  readonly sums: Float64Array;
  readonly positions: ReadonlyMap<bigint, number>;
  readonly regions: ReadonlyMap<string, Range>;
  readonly networks: ReadonlyMap<string, readonly Range[]>;
}

// A node with the worst of everything can still be drawn where nobody else is left.
const LEAST_WEIGHT = 1e-6;

export function layOut(nodes: readonly WeightedNode[]): WeightedLayout {
  const byRegion = new Map<string, Map<string, WeightedNode[]>>();
  for (const node of nodes) {
    const networks = getOrAdd(byRegion, node.region, () => new Map<string, WeightedNode[]>());
    getOrAdd(networks, node.network, (): WeightedNode[] => []).push(node);
  }
  const rowIds: bigint[] = [];
  const sums = new Float64Array(nodes.length + 1);
  const positions = new Map<bigint, number>();
  const regions = new Map<string, Range>();
  const networks = new Map<string, Range[]>();
  for (const [region, members] of byRegion) {
    const regionStart = rowIds.length;
    for (const [network, group] of members) {
      const start = rowIds.length;
      for (const node of group) {
        const position = rowIds.push(node.rowId) - 1;
        positions.set(node.rowId, position);
        sums[position + 1] = (sums[position] ?? 0) + Math.max(LEAST_WEIGHT, node.weight);
      }
      getOrAdd(networks, network, (): Range[] => []).push({ start, end: rowIds.length });
    }
    regions.set(region, { start: regionStart, end: rowIds.length });
  }
  return { rowIds, sums, positions, regions, networks };
}

export function totalWeight(layout: WeightedLayout): number {
  return layout.sums[layout.rowIds.length] ?? 0;
}

/** Draws a position outside of the given ranges by weight; undefined where they leave nobody. `random` gives 0 to 1. */
export function drawOutside(
  layout: WeightedLayout,
  excluded: readonly Range[],
  random: () => number,
): number | undefined {
  const gaps = merged(excluded);
  const sums = layout.sums;
  let count = layout.rowIds.length;
  let weight = totalWeight(layout);
  for (const { start, end } of gaps) {
    count -= end - start;
    weight -= (sums[end] ?? 0) - (sums[start] ?? 0);
  }
  if (count <= 0) return undefined;
  let point = random() * weight;
  for (const { start, end } of gaps) {
    if (point < (sums[start] ?? 0)) break;
    point += (sums[end] ?? 0) - (sums[start] ?? 0);
  }
  return nearestOutside(positionAt(sums, point), gaps, layout.rowIds.length);
}

/** The position whose weight covers the point. */
function positionAt(sums: Float64Array, point: number): number {
  let low = 0;
  let high = sums.length - 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sums[middle + 1] ?? 0) <= point) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Rounding of the sums can put a point on the edge of a gap: then the neighbour outside of it is meant. */
function nearestOutside(position: number, gaps: readonly Range[], count: number): number {
  for (const { start, end } of gaps) {
    if (position >= start && position < end) return end < count ? end : start - 1;
  }
  return position;
}

function merged(ranges: readonly Range[]): readonly Range[] {
  if (ranges.length < 2) return ranges;
  const sorted = ranges.toSorted((a, b) => a.start - b.start || b.end - a.end);
  const result: { start: number; end: number }[] = [];
  for (const range of sorted) {
    const last = result.at(-1);
    if (last !== undefined && range.start <= last.end) last.end = Math.max(last.end, range.end);
    else result.push({ ...range });
  }
  return result;
}

function getOrAdd<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const existing = map.get(key);
  if (existing !== undefined) return existing;
  const made = make();
  map.set(key, made);
  return made;
}
