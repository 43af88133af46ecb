import fc from "fast-check";
import { expect, test } from "vitest";
import { randomFrom } from "#platform/testing/random.ts";
import type { PlacementCandidate } from "../directory/network-view.ts";
import { drawNodes, PROBATION_SHARE } from "./draw.ts";
import { buildPools, type Pools } from "./pools.ts";
import { buildRoster, isCurrent } from "./roster.ts";
import { drawOutside } from "./weighted-draw.ts";

const GB = 2 ** 30;

function candidate(index: number, traits: Partial<PlacementCandidate> = {}): PlacementCandidate {
  return {
    nodeId: index.toString(16).padStart(64, "0"),
    rowId: BigInt(index),
    address: { host: "127.0.0.1", port: 9_000 },
    peerNetwork: `10.0.${index}.0/24`,
    region: `r${index}`,
    capacityBytes: 100 * GB,
    freeBytes: 100 * GB,
    usedBytes: 0,
    state: "in_service",
    liveness: "online",
    reputationScore: 1,
    responsiveness: 1,
    isOnProbation: false,
    revision: 1n,
    ...traits,
  };
}

function poolsOf(nodes: readonly PlacementCandidate[], assignedBytes: ReadonlyMap<number, number> = new Map()): Pools {
  return buildPools(buildRoster(nodes), assignedBytes, 1);
}

/** Weights of the established nodes by row id. */
function weightsOf({ roster, established }: Pools): Map<bigint, number> {
  const { sums } = established;
  return new Map(roster.nodes.map((node, at) => [node.rowId, (sums[at + 1] ?? 0) - (sums[at] ?? 0)]));
}

interface Asked {
  readonly count: number;
  readonly holders: readonly PlacementCandidate[];
  readonly barred: readonly PlacementCandidate[];
  readonly accept: (node: PlacementCandidate) => boolean;
}

function draw(pools: Pools, { count = 1, holders = [], barred = [], accept }: Partial<Asked>, random = Math.random) {
  const { nodes, positions } = pools.roster;
  const at = (node: PlacementCandidate) => positions.get(Number(node.rowId)) ?? -1;
  const nodeAt = (position: number) => nodes[position] ?? candidate(-1);
  const drawn = drawNodes(
    pools,
    {
      count,
      holders: holders.map(at),
      barred: barred.map(at),
      accept: (position) => accept?.(nodeAt(position)) ?? true,
    },
    random,
  );
  return drawn && { chosen: drawn.chosen.map(nodeAt), relaxed: drawn.relaxed };
}

/** Chi-squared of observed counts against expected shares, for the categories that are expected at all. */
function chiSquared(counts: ReadonlyMap<bigint, number>, shares: ReadonlyMap<bigint, number>, total: number): number {
  let sum = 0;
  for (const [rowId, share] of shares) {
    const expected = share * total;
    sum += ((counts.get(rowId) ?? 0) - expected) ** 2 / expected;
  }
  return sum;
}

test("a node is drawn as often as its weight says: 100,000 draws over 50 nodes", () => {
  const nodes = Array.from({ length: 50 }, (_, index) =>
    candidate(index, {
      freeBytes: (1 + index) * 2 * GB,
      reputationScore: 0.5 + (index % 10) / 20,
      responsiveness: (index % 7) / 6,
    }),
  );
  const pools = poolsOf(nodes);
  const weights = weightsOf(pools);
  const all = [...weights.values()].reduce((sum, weight) => sum + weight);
  const shares = new Map([...weights].map(([rowId, weight]) => [rowId, weight / all]));
  const counts = new Map<bigint, number>();
  const random = randomFrom(7);
  for (let round = 0; round < 100_000; round += 1) {
    const rowId = draw(pools, {}, random)?.chosen[0]?.rowId ?? -1n;
    counts.set(rowId, (counts.get(rowId) ?? 0) + 1);
  }
  // The 0.9999 quantile of chi-squared with 49 degrees of freedom.
  expect(chiSquared(counts, shares, 100_000)).toBeLessThan(94);
  expect([...shares.values()].reduce((a, b) => Math.max(a, b))).toBeLessThan(0.04);
});

test("the formula: 0.4 free share + 0.3 reputation + 0.2 responsiveness + 0.1 diversity", () => {
  const nodes = [
    candidate(0, { freeBytes: 50 * GB, reputationScore: 0.8, responsiveness: 0.6 }),
    candidate(1, { peerNetwork: "10.9.9.0/24", region: "same" }),
    candidate(2, { peerNetwork: "10.9.9.0/24", region: "same" }),
  ];
  const weights = weightsOf(poolsOf(nodes, new Map([[0, 25 * GB]])));
  expect(weights.get(0n)).toBeCloseTo(0.4 * 0.25 + 0.3 * 0.8 + 0.2 * 0.6 + 0.1 * 1);
  expect(weights.get(1n)).toBeCloseTo(0.4 + 0.3 + 0.2 + 0.1 * (1 - (1 + 1) / 4));
});

test("nodes on probation get their small share together, and never more than their weight", () => {
  for (const [established, onProbation] of [
    [50, 50],
    [99, 1],
    [0, 10],
  ] as const) {
    const nodes = Array.from({ length: established + onProbation }, (_, index) =>
      candidate(index, { isOnProbation: index >= established }),
    );
    const pools = poolsOf(nodes);
    const random = randomFrom(11);
    let hits = 0;
    for (let round = 0; round < 20_000; round += 1) {
      if (Number(draw(pools, {}, random)?.chosen[0]?.rowId) >= established) hits += 1;
    }
    const expected = established === 0 ? 1 : Math.min(PROBATION_SHARE, onProbation / (established + onProbation));
    expect(hits / 20_000).toBeCloseTo(expected, 2);
  }
});

test("the share of nodes on probation does not grow where most of the others turn out to be full", () => {
  const nodes = Array.from({ length: 60 }, (_, index) => candidate(index, { isOnProbation: index >= 30 }));
  const pools = poolsOf(nodes);
  const random = randomFrom(13);
  let hits = 0;
  for (let round = 0; round < 20_000; round += 1) {
    const drawn = draw(pools, { accept: ({ rowId }) => rowId < 3n || rowId >= 30n }, random);
    if (Number(drawn?.chosen[0]?.rowId) >= 30) hits += 1;
  }
  expect(hits / 20_000).toBeCloseTo(PROBATION_SHARE, 2);
});

test("what is left out is never drawn, and everything else still by weight", () => {
  const nodes = Array.from({ length: 12 }, (_, index) =>
    candidate(index, { peerNetwork: `n${index % 6}`, region: `r${index % 3}`, reputationScore: (1 + index) / 12 }),
  );
  const pools = poolsOf(nodes);
  const { roster } = pools;
  const [network, region] = [roster.networkNames.indexOf("n1"), roster.regionNames.indexOf("r2")];
  const excluded = [...(roster.networkRanges[network] ?? []), roster.regionRanges[region] ?? { start: 0, end: 0 }];
  const allowed = [...weightsOf(pools)].filter(([rowId]) => rowId % 6n !== 1n && rowId % 3n !== 2n);
  const sum = allowed.reduce((total, [, weight]) => total + weight, 0);
  const counts = new Map<bigint, number>();
  const random = randomFrom(3);
  for (let round = 0; round < 60_000; round += 1) {
    const rowId = roster.nodes[drawOutside(pools.established, excluded, random) ?? -1]?.rowId ?? -1n;
    counts.set(rowId, (counts.get(rowId) ?? 0) + 1);
  }
  expect([...counts.keys()].sort()).toEqual(allowed.map(([rowId]) => rowId).sort());
  const shares = new Map(allowed.map(([rowId, weight]) => [rowId, weight / sum]));
  expect(chiSquared(counts, shares, 60_000)).toBeLessThan(30);
});

test("a roster is current until somebody comes, goes or moves", () => {
  const nodes = Array.from({ length: 5 }, (_, index) => ({ ...candidate(index) }));
  const roster = buildRoster(nodes);
  expect(isCurrent(roster, nodes)).toBe(true);
  const [first] = nodes;
  if (first === undefined) throw new Error("no node");
  Object.assign(first, { freeBytes: 0, liveness: "offline" });
  expect(isCurrent(roster, nodes)).toBe(true);
  Object.assign(first, { region: "elsewhere" });
  expect(isCurrent(roster, nodes)).toBe(false);
  expect(isCurrent(buildRoster(nodes), [...nodes, candidate(9)])).toBe(false);
});

const network = fc.record({
  nodes: fc.array(fc.record({ network: fc.nat({ max: 5 }), region: fc.nat({ max: 3 }), isOnProbation: fc.boolean() }), {
    minLength: 1,
    maxLength: 15,
    size: "max",
  }),
  count: fc.integer({ min: 1, max: 6 }),
  holders: fc.nat({ max: 2 }),
  barred: fc.nat({ max: 2 }),
});

test("hard rules hold for every network, and diversity gives way only where it must", () => {
  fc.assert(
    fc.property(network, ({ nodes: traits, count, holders, barred }) => {
      const nodes = traits.map((node, index) =>
        candidate(index, {
          peerNetwork: `n${node.network}`,
          region: `r${node.region}`,
          isOnProbation: node.isOnProbation,
        }),
      );
      const held = nodes.slice(0, holders);
      const out = nodes.slice(holders, holders + barred);
      const free = nodes.slice(holders + barred);
      const drawn = draw(poolsOf(nodes), { count, holders: held, barred: out });
      if (free.length < count) {
        expect(drawn).toBeUndefined();
        return;
      }
      const chosen = drawn?.chosen ?? [];
      expect(new Set(chosen.map((node) => node.rowId)).size).toBe(count);
      for (const node of chosen) expect(free.some(({ rowId }) => rowId === node.rowId)).toBe(true);
      const all = [...held, ...chosen];
      const heldNetworks = new Set(held.map((node) => node.peerNetwork));
      if (drawn?.relaxed.has("different_subnets") !== true) {
        const added = new Set(chosen.map((node) => node.peerNetwork));
        expect(added.size).toBe(count);
        expect(added.isDisjointFrom(heldNetworks)).toBe(true);
      }
      if (drawn?.relaxed.size === 0) {
        expect(new Set(chosen.map((node) => node.region)).size).toBe(count);
      }
      // The last replica always differs from the others where an established node does that is left.
      const last = chosen.at(-1);
      const others = all.slice(0, -1);
      const left = free.filter(({ rowId }) => !others.some((node) => node.rowId === rowId));
      const isNew = (node: PlacementCandidate) =>
        others.every((other) => other.peerNetwork !== node.peerNetwork && other.region !== node.region);
      if (left.some((node) => isNew(node) && !node.isOnProbation)) expect(left.filter(isNew)).toContain(last);
    }),
    { numRuns: 500 },
  );
});

test("a new node gets no more than the share of its like for a region that nobody else declares", () => {
  const nodes = Array.from({ length: 10 }, (_, index) => candidate(index, { region: "" }));
  const young = candidate(10, { region: "mine alone", isOnProbation: true });
  const pools = poolsOf([...nodes, young]);
  const random = randomFrom(17);
  const draws = Array.from({ length: 5_000 }, () => draw(pools, { count: 3 }, random));
  const hits = draws.filter((drawn) => drawn?.chosen.includes(young)).length;
  expect(hits / (3 * draws.length)).toBeLessThan(1.1 * PROBATION_SHARE);
  expect(draws.filter((drawn) => drawn?.relaxed.has("different_regions") !== true)).toEqual([]);
});

test("nodes that are full or gone by now are passed over", () => {
  const nodes = Array.from({ length: 40 }, (_, index) => candidate(index));
  const pools = poolsOf(nodes);
  const accept = (node: PlacementCandidate) => node.rowId < 10n;
  for (let round = 0; round < 50; round += 1) {
    const drawn = draw(pools, { count: 3, accept });
    for (const node of drawn?.chosen ?? []) expect(node.rowId).toBeLessThan(10n);
  }
});
