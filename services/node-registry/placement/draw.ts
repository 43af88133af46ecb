import { drawOutside, type Range, totalWeight, type WeightedLayout } from "./weighted-layout.ts";

/** The most that nodes on probation get together, however many they are; Storj gives new nodes 1 %. */
export const PROBATION_SHARE = 0.05;

/** Rules that give way where the network is too small, and are then named in the answer. */
export type SoftRule = "different_subnets" | "different_regions" | "probation_share";

/** Nodes to draw from, apart for those on probation, so that they get a share and not their weight. */
export interface Pools {
  readonly established: WeightedLayout;
  readonly probation: WeightedLayout;
}

export interface Located {
  readonly rowId: bigint;
  readonly network: string;
  readonly region: string;
}

export interface DrawRequest {
  readonly count: number;
  /** Nodes that hold, or are assigned, another replica of the chunk. */
  readonly holders: readonly Located[];
  /** Nodes that may not get this chunk for another reason. */
  readonly barred: Iterable<bigint>;
  /** The hard rules at this very moment: the weights may be a second old. Undefined where the node breaks one. */
  readonly accept: (rowId: bigint) => Located | undefined;
}

export interface Drawn {
  readonly chosen: readonly Located[];
  readonly relaxed: ReadonlySet<SoftRule>;
}

/**
 * How strictly diversity is asked for, strictest first. A replica falls to the next tier only where nobody is left in the
 * one before: hard rules go before weights.
 */
const TIERS: readonly { networks: boolean; regions: boolean; relaxed: readonly SoftRule[] }[] = [
  { networks: true, regions: true, relaxed: [] },
  { networks: true, regions: false, relaxed: ["different_regions"] },
  { networks: false, regions: true, relaxed: ["different_subnets"] },
  { networks: false, regions: false, relaxed: ["different_subnets", "different_regions"] },
];

// So many drawn nodes may turn out to be full or gone before the pools count as out of date.
const MAX_REJECTIONS = 32;

/**
 * Draws nodes one after the other by weight, never simply the best ones: those would all get every chunk.
 * Undefined where fewer than `count` nodes fulfil the hard rules (or the pools are too old to tell).
 */
export function drawNodes(pools: Pools, request: DrawRequest, random: () => number): Drawn | undefined {
  const chosen: Located[] = [];
  const relaxed = new Set<SoftRule>();
  const out = new Set<bigint>(request.barred);
  for (const holder of request.holders) out.add(holder.rowId);
  let rejections = 0;
  while (chosen.length < request.count) {
    const found = drawOne(pools, [...request.holders, ...chosen], out, random);
    if (found === undefined) return undefined;
    out.add(found.rowId);
    const node = request.accept(found.rowId);
    if (node === undefined) {
      rejections += 1;
      if (rejections > MAX_REJECTIONS) return undefined;
      continue;
    }
    chosen.push(node);
    for (const rule of found.relaxed) relaxed.add(rule);
  }
  return { chosen, relaxed };
}

interface Found {
  readonly rowId: bigint;
  readonly relaxed: readonly SoftRule[];
}

function drawOne(
  pools: Pools,
  holders: readonly Located[],
  out: ReadonlySet<bigint>,
  random: () => number,
): Found | undefined {
  const wantsProbation = random() < probationChance(pools);
  for (const tier of TIERS) {
    const first = drawFrom(wantsProbation ? pools.probation : pools.established, tier, holders, out, random);
    if (first !== undefined) return { rowId: first, relaxed: tier.relaxed };
    const second = drawFrom(wantsProbation ? pools.established : pools.probation, tier, holders, out, random);
    if (second === undefined) continue;
    return { rowId: second, relaxed: wantsProbation ? tier.relaxed : [...tier.relaxed, "probation_share"] };
  }
  return undefined;
}

/** Never more than their weight says, never more than the share that is set aside. */
export function probationChance(pools: Pools): number {
  const probation = totalWeight(pools.probation);
  const all = probation + totalWeight(pools.established);
  return all === 0 ? 0 : Math.min(PROBATION_SHARE, probation / all);
}

function drawFrom(
  layout: WeightedLayout,
  tier: { readonly networks: boolean; readonly regions: boolean },
  holders: readonly Located[],
  out: ReadonlySet<bigint>,
  random: () => number,
): bigint | undefined {
  const excluded: Range[] = [];
  for (const rowId of out) {
    const position = layout.positions.get(rowId);
    if (position !== undefined) excluded.push({ start: position, end: position + 1 });
  }
  for (const holder of holders) {
    if (tier.regions) {
      const range = layout.regions.get(holder.region);
      if (range !== undefined) excluded.push(range);
    }
    if (tier.networks) excluded.push(...(layout.networks.get(holder.network) ?? []));
  }
  const position = drawOutside(layout, excluded, random);
  return position === undefined ? undefined : layout.rowIds[position];
}
