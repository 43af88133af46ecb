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

export type Pool = "established" | "probation";

/** Whom the draw asks for a replica, and what they may not share with the others. */
export interface Step {
  readonly pool: Pool;
  readonly networks: boolean;
  readonly regions: boolean;
  readonly relaxed: readonly SoftRule[];
}

/**
 * The steps of a replica that falls to each pool: one follows only where nobody is left in the one before, since hard rules
 * go before weights. Regions give way first: a node declares its own, and a new one would get a replica of every chunk for a
 * name that nobody else has. Then the share of nodes on probation, and last the subnets, which nobody can make up.
 */
export const STEPS: Record<Pool, readonly Step[]> = {
  established: inTurn([true, false], (networks) =>
    inTurn<Pool>(["established", "probation"], (pool) =>
      inTurn([true, false], (regions) => [step(pool, networks, regions, pool === "probation")]),
    ),
  ),
  probation: inTurn([true, false], (networks) =>
    inTurn([true, false], (regions) =>
      inTurn<Pool>(["probation", "established"], (pool) => [step(pool, networks, regions, false)]),
    ),
  ),
};

function inTurn<T>(choices: readonly T[], stepsOf: (choice: T) => readonly Step[]): Step[] {
  return choices.flatMap(stepsOf);
}

function step(pool: Pool, networks: boolean, regions: boolean, isBeyondShare: boolean): Step {
  const relaxed: SoftRule[] = [];
  if (!networks) relaxed.push("different_subnets");
  if (!regions) relaxed.push("different_regions");
  if (isBeyondShare) relaxed.push("probation_share");
  return { pool, networks, regions, relaxed };
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
  let fallsTo = poolFor(pools, random);
  while (chosen.length < request.count) {
    const missing = request.count - chosen.length;
    const found = drawOne(pools, fallsTo, { holders, out, missing }, random);
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
    fallsTo = poolFor(pools, random);
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

function drawOne(pools: Pools, fallsTo: Pool, standing: Standing, random: () => number): Found | undefined {
  for (const step of STEPS[fallsTo]) {
    const excluded = rangesOf(pools.roster, step, standing);
    // Who has to leave others different ones: the rest will be asked of them.
    const others = fallsTo === "probation" ? "established" : step.pool;
    while (true) {
      const position = drawOutside(pools[step.pool], excluded, random);
      if (position === undefined) break;
      const isDifferent = step.networks && step.regions;
      if (!isDifferent || leavesVariety(pools, others, standing, position)) return { position, relaxed: step.relaxed };
      excluded.push(subnetInRegion(pools.roster, position));
    }
  }
  return undefined;
}

/** Whether the rest can be as different as before. Where there is plenty, which is nearly always, a sum tells. */
function leavesVariety(pools: Pools, others: Pool, { holders, out, missing }: Standing, position: number): boolean {
  // A replica takes away a subnet and a region, a node that is left out at most one pair of them.
  const takenAway = 2 * (holders.length + 1) + (out.length - holders.length);
  if (pools.variety[others] - takenAway >= missing - 1) return true;
  const { roster } = pools;
  const held = {
    regions: new Set(holders.map((at) => roster.regions[at] ?? -1)),
    networks: new Set(holders.map((at) => roster.networks[at] ?? -1)),
  };
  const next = { region: roster.regions[position] ?? -1, network: roster.networks[position] ?? -1 };
  return keepsVariety(spreadOf(roster, pools[others], out), held, next, Math.min(missing, pools.variety[others]));
}

function subnetInRegion({ networks, networkRanges }: Roster, position: number): Range {
  const ranges = networkRanges[networks[position] ?? -1] ?? [];
  const alone = { start: position, end: position + 1 };
  return ranges.find(({ start, end }) => position >= start && position < end) ?? alone;
}

function poolFor(pools: Pools, random: () => number): Pool {
  return random() < probationChance(pools) ? "probation" : "established";
}

/** Never more than their weight says, never more than the share that is set aside. */
export function probationChance(pools: { readonly established: Sums; readonly probation: Sums }): number {
  const probation = totalWeight(pools.probation);
  const all = probation + totalWeight(pools.established);
  return all === 0 ? 0 : Math.min(PROBATION_SHARE, probation / all);
}

function rangesOf(roster: Roster, step: Step, { holders, out }: Standing): Range[] {
  const excluded: Range[] = out.map((position) => ({ start: position, end: position + 1 }));
  for (const position of holders) {
    const region = step.regions ? roster.regionRanges[roster.regions[position] ?? -1] : undefined;
    if (region !== undefined) excluded.push(region);
    if (step.networks) excluded.push(...(roster.networkRanges[roster.networks[position] ?? -1] ?? []));
  }
  return excluded;
}
