import fc from "fast-check";
import { expect, test } from "vitest";
import type { PlacementCandidate } from "../directory/network-view.ts";
import { type DrawRequest, drawNodes, type Located, type Pools, PROBATION_SHARE } from "./draw.ts";
import { buildPools } from "./pools.ts";
import { drawOutside, layOut } from "./weighted-layout.ts";

/** Repeatable, and good enough for frequencies (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

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

function located(nodes: readonly PlacementCandidate[]) {
  const byId = new Map(nodes.map((node) => [node.rowId, node]));
  return (rowId: bigint): Located | undefined => {
    const node = byId.get(rowId);
    return node && { rowId, network: node.peerNetwork, region: node.region };
  };
}

function draw(pools: Pools, nodes: readonly PlacementCandidate[], request: Partial<DrawRequest>, random = Math.random) {
  return drawNodes(pools, { count: 1, holders: [], barred: [], accept: located(nodes), ...request }, random);
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
  const pools = buildPools(nodes, () => 0, 1);
  const { rowIds, sums } = pools.established;
  const all = sums[rowIds.length] ?? 0;
  const shares = new Map(rowIds.map((rowId, at) => [rowId, ((sums[at + 1] ?? 0) - (sums[at] ?? 0)) / all]));
  const counts = new Map<bigint, number>();
  const random = seeded(7);
  for (let round = 0; round < 100_000; round += 1) {
    const rowId = draw(pools, nodes, {}, random)?.chosen[0]?.rowId ?? -1n;
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
  const { sums, rowIds } = buildPools(nodes, (rowId) => (rowId === 0n ? 25 * GB : 0), 1).established;
  const weights = new Map(rowIds.map((rowId, at) => [rowId, (sums[at + 1] ?? 0) - (sums[at] ?? 0)]));
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
    const pools = buildPools(nodes, () => 0, 1);
    const random = seeded(11);
    let hits = 0;
    for (let round = 0; round < 20_000; round += 1) {
      if (Number(draw(pools, nodes, {}, random)?.chosen[0]?.rowId) >= established) hits += 1;
    }
    const expected = established === 0 ? 1 : Math.min(PROBATION_SHARE, onProbation / (established + onProbation));
    expect(hits / 20_000).toBeCloseTo(expected, 2);
  }
});

test("what is left out is never drawn, and everything else still by weight", () => {
  const layout = layOut(
    Array.from({ length: 12 }, (_, index) => ({
      rowId: BigInt(index),
      network: `n${index % 6}`,
      region: `r${index % 3}`,
      weight: 1 + index,
    })),
  );
  const excluded = [...(layout.networks.get("n1") ?? []), layout.regions.get("r2") ?? { start: 0, end: 0 }];
  const isOut = (position: number) => excluded.some(({ start, end }) => position >= start && position < end);
  const allowed = layout.rowIds
    .map((rowId, position) => ({ rowId, position }))
    .filter(({ position }) => !isOut(position));
  const sum = allowed.reduce((total, { rowId }) => total + 1 + Number(rowId), 0);
  const counts = new Map<bigint, number>();
  const random = seeded(3);
  for (let round = 0; round < 60_000; round += 1) {
    const position = drawOutside(layout, excluded, random) ?? -1;
    expect(isOut(position)).toBe(false);
    const rowId = layout.rowIds[position] ?? -1n;
    counts.set(rowId, (counts.get(rowId) ?? 0) + 1);
  }
  const shares = new Map(allowed.map(({ rowId }) => [rowId, (1 + Number(rowId)) / sum]));
  expect(chiSquared(counts, shares, 60_000)).toBeLessThan(30);
});

const network = fc.record({
  nodes: fc.array(fc.record({ network: fc.nat({ max: 5 }), region: fc.nat({ max: 3 }), isOnProbation: fc.boolean() }), {
    minLength: 1,
    maxLength: 15,
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
      const toLocated = (node: PlacementCandidate) => ({
        rowId: node.rowId,
        network: node.peerNetwork,
        region: node.region,
      });
      const held = nodes.slice(0, holders).map(toLocated);
      const out = nodes.slice(holders, holders + barred).map((node) => node.rowId);
      const free = nodes.slice(holders + barred);
      const drawn = draw(
        buildPools(nodes, () => 0, 1),
        nodes,
        { count, holders: held, barred: out },
      );
      if (free.length < count) {
        expect(drawn).toBeUndefined();
        return;
      }
      const chosen = drawn?.chosen ?? [];
      expect(new Set(chosen.map((node) => node.rowId)).size).toBe(count);
      for (const node of chosen) expect(free.some(({ rowId }) => rowId === node.rowId)).toBe(true);
      const all = [...held, ...chosen];
      const heldNetworks = new Set(held.map((node) => node.network));
      if (drawn?.relaxed.has("different_subnets") !== true) {
        const added = new Set(chosen.map((node) => node.network));
        expect(added.size).toBe(count);
        expect(added.isDisjointFrom(heldNetworks)).toBe(true);
      }
      if (drawn?.relaxed.size === 0) {
        expect(new Set(chosen.map((node) => node.region)).size).toBe(count);
      }
      // The last replica is always drawn from the strictest tier that has somebody left.
      const last = chosen.at(-1);
      const others = all.slice(0, -1);
      const left = free.filter(({ rowId }) => !others.some((node) => node.rowId === rowId));
      const isNew = (node: PlacementCandidate) =>
        others.every((other) => other.network !== node.peerNetwork && other.region !== node.region);
      if (left.some(isNew)) expect(left.filter(isNew).some(({ rowId }) => rowId === last?.rowId)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test("nodes that are full or gone by now are passed over", () => {
  const nodes = Array.from({ length: 40 }, (_, index) => candidate(index));
  const pools = buildPools(nodes, () => 0, 1);
  const accept = (rowId: bigint) => (rowId < 10n ? located(nodes)(rowId) : undefined);
  for (let round = 0; round < 50; round += 1) {
    const drawn = draw(pools, nodes, { count: 3, accept });
    for (const node of drawn?.chosen ?? []) expect(node.rowId).toBeLessThan(10n);
  }
});
