import { z } from "zod";
import { type Pools, spreadOf } from "./pools.ts";
import type { Range, Roster } from "./roster.ts";
import { keepsVariety } from "./variety.ts";
import { drawOutside, type Sums, totalWeight } from "./weighted-draw.ts";

/** The most that nodes on probation get together, however many they are; Storj gives new nodes 1 %. */
export const PROBATION_SHARE = 0.05;

/** Rules that give way where the network is too small, and are then named in the answer. */
export const zSoftRule = z.enum(["different_subnets", "different_regions", "probation_share"]);
export type SoftRule = z.infer<typeof zSoftRule>;

/** Nodes by their position in the roster of the pools. */
export interface DrawRequest {
  readonly count: number;
  /** Nodes that hold, or are assigned, another replica of the chunk. */
  readonly holders: readonly number[];
  /** Nodes that may not get this chunk for another reason. */
  readonly barred: readonly number[];
  /** Whether the node fulfils the hard rules at this very moment: the weights may be a second old. */
  readonly accept: (position: number) => boolean;
}

export interface Drawn {
  readonly chosen: readonly number[];
  readonly relaxed: ReadonlySet<SoftRule>;
}

/**
 * How strictly diversity is asked for, strictest first. A replica falls to the next tier only where nobody is left in the
 * one before: hard rules go before weights.
 */
export const TIERS: readonly Tier[] = [
  { networks: true, regions: true, relaxed: [] },
  { networks: true, regions: false, relaxed: ["different_regions"] },
  { networks: false, regions: true, relaxed: ["different_subnets"] },
  { networks: false, regions: false, relaxed: ["different_subnets", "different_regions"] },
];

interface Tier {
  readonly networks: boolean;
  readonly regions: boolean;
  readonly relaxed: readonly SoftRule[];
}

// So many drawn nodes may turn out to be full or gone before the pools count as out of date.
const MAX_REJECTIONS = 32;

/**
 * Draws nodes one after the other by weight, never simply the best ones: those would all get every chunk.
 * Undefined where fewer than `count` nodes fulfil the hard rules (or the pools are too old to tell).
 */
export function drawNodes(pools: Pools, request: DrawRequest, random: () => number): Drawn | undefined {
  const chosen: number[] = [];
  const relaxed = new Set<SoftRule>();
  const holders = [...request.holders];
  const out = [...request.barred, ...request.holders];
  let rejections = 0;
  // Once for each replica and not for each try: tries that the others fail would add to the share.
  let wantsProbation = random() < probationChance(pools);
  while (chosen.length < request.count) {
    const missing = request.count - chosen.length;
    const found = drawOne(pools, { holders, out, missing, wantsProbation }, random);
    if (found === undefined) return undefined;
    out.push(found.position);
    if (!request.accept(found.position)) {
      rejections += 1;
      if (rejections > MAX_REJECTIONS) return undefined;
      continue;
    }
    chosen.push(found.position);
    holders.push(found.position);
    for (const rule of found.relaxed) relaxed.add(rule);
    wantsProbation = random() < probationChance(pools);
  }
  return { chosen, relaxed };
}

interface Found {
  readonly position: number;
  readonly relaxed: readonly SoftRule[];
}

interface Standing {
  readonly holders: readonly number[];
  readonly out: readonly number[];
  readonly missing: number;
}

function drawOne(
  pools: Pools,
  { wantsProbation, ...standing }: Standing & { readonly wantsProbation: boolean },
  random: () => number,
): Found | undefined {
  const [preferred, other] = wantsProbation
    ? [pools.probation, pools.established]
    : [pools.established, pools.probation];
  for (const tier of TIERS) {
    const excluded = rangesOf(pools.roster, tier, standing);
    while (true) {
      const first = drawOutside(preferred, excluded, random);
      const position = first ?? drawOutside(other, excluded, random);
      if (position === undefined) break;
      if (tier.relaxed.length === 0 && !leavesVariety(pools, standing, position)) {
        excluded.push(subnetInRegion(pools.roster, position));
        continue;
      }
      const isBeyondShare = first === undefined && !wantsProbation;
      return { position, relaxed: isBeyondShare ? [...tier.relaxed, "probation_share"] : tier.relaxed };
    }
  }
  return undefined;
}

/** Whether the rest can be as different as before. Where there is plenty, which is nearly always, a sum tells. */
function leavesVariety(pools: Pools, { holders, out, missing }: Standing, position: number): boolean {
  // A replica takes away a subnet and a region, a node that is left out at most one pair of them.
  const takenAway = 2 * (holders.length + 1) + (out.length - holders.length);
  if (pools.variety.established - takenAway >= missing - 1) return true;
  const { roster, established, probation, variety } = pools;
  const spreads = {
    established: spreadOf(roster, [established], out),
    all: spreadOf(roster, [established, probation], out),
  };
  const held = {
    regions: new Set(holders.map((at) => roster.regions[at] ?? -1)),
    networks: new Set(holders.map((at) => roster.networks[at] ?? -1)),
  };
  const next = { region: roster.regions[position] ?? -1, network: roster.networks[position] ?? -1 };
  return keepsVariety(spreads, held, next, Math.min(missing, variety.all));
}

function subnetInRegion({ networks, networkRanges }: Roster, position: number): Range {
  const ranges = networkRanges[networks[position] ?? -1] ?? [];
  const alone = { start: position, end: position + 1 };
  return ranges.find(({ start, end }) => position >= start && position < end) ?? alone;
}

/** Never more than their weight says, never more than the share that is set aside. */
export function probationChance(pools: { readonly established: Sums; readonly probation: Sums }): number {
  const probation = totalWeight(pools.probation);
  const all = probation + totalWeight(pools.established);
  return all === 0 ? 0 : Math.min(PROBATION_SHARE, probation / all);
}

function rangesOf(roster: Roster, tier: Tier, { holders, out }: Standing): Range[] {
  const excluded: Range[] = out.map((position) => ({ start: position, end: position + 1 }));
  for (const position of holders) {
    const region = tier.regions ? roster.regionRanges[roster.regions[position] ?? -1] : undefined;
    if (region !== undefined) excluded.push(region);
    if (tier.networks) excluded.push(...(roster.networkRanges[roster.networks[position] ?? -1] ?? []));
  }
  return excluded;
}
