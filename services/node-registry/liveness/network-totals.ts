import type { LivenessName, NodeStateName } from "../directory/network-view.ts";
import type { NodeRecord } from "../directory/node-record.ts";

/** The largest int64: what nodes claim of themselves may add up to more, and must not make the answer unsayable. */
const MAX_SUM = 2n ** 63n - 1n;

/** Sums without those nodes that are disqualified; deregistered ones are not in the view. */
export interface NetworkTotals {
  readonly active: number;
  readonly onProbation: number;
  readonly capacityGb: number;
  readonly usedBytes: bigint;
  readonly freeBytes: bigint;
  /** Of all nodes in the view. */
  readonly states: ReadonlyMap<NodeStateName, number>;
  readonly livenesses: ReadonlyMap<LivenessName, number>;
  readonly versions: ReadonlyMap<string, number>;
  readonly regions: ReadonlyMap<string, RegionTotals>;
}

export interface RegionTotals {
  readonly nodes: number;
  readonly capacityGb: number;
  readonly freeBytes: bigint;
}

interface Region {
  nodes: number;
  capacityGb: number;
  readonly free: ExactSum;
}

/** One pass over the view, 100,000 nodes in some milliseconds. */
export function totalsOf(nodes: Iterable<NodeRecord>): NetworkTotals {
  const counts = { active: 0, onProbation: 0, capacityGb: 0 };
  const used = createExactSum();
  const free = createExactSum();
  const states = new Map<NodeStateName, number>();
  const livenesses = new Map<LivenessName, number>();
  const versions = new Map<string, number>();
  const regions = new Map<string, Region>();
  for (const node of nodes) {
    increase(states, node.state);
    if (node.state === "disqualified" || node.state === "deregistered") continue;
    increase(livenesses, node.liveness);
    increase(versions, node.softwareVersion);
    if (node.isActive) counts.active += 1;
    if (node.isOnProbation) counts.onProbation += 1;
    counts.capacityGb += node.capacityGb;
    used.add(node.usedBytes);
    free.add(node.freeBytes);
    const region = regions.get(node.region) ?? { nodes: 0, capacityGb: 0, free: createExactSum() };
    if (region.nodes === 0) regions.set(node.region, region);
    region.nodes += 1;
    region.capacityGb += node.capacityGb;
    region.free.add(node.freeBytes);
  }
  return {
    ...counts,
    usedBytes: used.total(),
    freeBytes: free.total(),
    states,
    livenesses,
    versions,
    regions: new Map([...regions].map(([name, { free, ...rest }]) => [name, { ...rest, freeBytes: free.total() }])),
  };
}

function increase<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

export interface ExactSum {
  /** A whole number from 0 to 2^53 - 1. */
  add(value: number): void;
  /** At most the largest int64. */
  total(): bigint;
}

/** Adds doubles while they are exact, and only then a bigint: 30 times as fast as a bigint for each. */
export function createExactSum(): ExactSum {
  let whole = 0n;
  let part = 0;
  return {
    add: (value) => {
      if (part > Number.MAX_SAFE_INTEGER - value) {
        whole += BigInt(part);
        part = 0;
      }
      part += value;
    },
    total: () => atMostInt64(whole + BigInt(part)),
  };
}

export function atMostInt64(sum: bigint): bigint {
  return sum < MAX_SUM ? sum : MAX_SUM;
}
