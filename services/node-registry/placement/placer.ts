import type { Clock } from "#platform/time/clock.ts";
import type { NetworkView } from "../directory/network-view.ts";
import { createCallPools } from "./call-pools.ts";
import { type DrawRequest, drawNodes, type SoftRule } from "./draw.ts";
import { buildPools, type Pools } from "./pools.ts";
import { buildRoster, isCurrent, type Roster } from "./roster.ts";
import { keepsHardRules, roomOf } from "./scoring.ts";

/** One chunk that needs nodes. */
export interface PlaceRequest {
  readonly chunkHash: string;
  readonly sizeBytes: bigint;
  readonly count: number;
  /** storage_nodes.id of nodes that hold, or are assigned, the chunk. */
  readonly holders: readonly bigint[];
  /** Of nodes that may not get it: deletions that they have not confirmed, nodes that failed the client. */
  readonly barred: readonly bigint[];
  /** Whether the chunk can do with as many as there are, or none, where there are too few nodes: it has replicas already. */
  readonly isOptional: boolean;
}

export interface Placement {
  /** By chunk_hash. */
  readonly nodes: ReadonlyMap<string, readonly bigint[]>;
  readonly relaxed: ReadonlySet<SoftRule>;
}

/**
 * Chooses nodes in memory. Weights may be a second old; the hard rules are looked at again for each node drawn, with the
 * space that this very call has given away before.
 */
export interface Placer {
  /** Undefined where some chunk cannot get all its nodes. Changes nothing: tell `assigned` once it is committed. */
  place(requests: readonly PlaceRequest[]): Placement | undefined;
  /** Whether so many nodes could take a chunk of this size. */
  hasEligible(sizeBytes: number, count: number): boolean;
  /** Bytes that are assigned to a node and not confirmed yet, as far as this process knows. */
  assignedBytesOf(rowId: bigint): number;
  /** Before all nodes are read: what is committed from here on the reading may not see, so it counts on top of it. */
  readingAssigned(): void;
  /** The same of all nodes as the database had it when it was read. */
  replaceAssigned(bytesByRowId: ReadonlyMap<bigint, number>): void;
  /** What this process has just committed. */
  assigned(rowId: bigint, bytes: number): void;
}

// Building the pools takes about 0.25 ms per thousand nodes: this spends at most a fortieth of the time on it.
const POOL_AGE_MS_PER_NODE = 0.01;
const MAX_POOL_AGE_MS = 1_000;

export function createPlacer(deps: { view: NetworkView; clock: Clock; random: () => number }): Placer {
  const { view, clock, random } = deps;
  let assigned: Map<number, number> = new Map();
  let sinceReading: Map<number, number> = new Map();
  const assignedBytesOf = (rowId: bigint) => assigned.get(Number(rowId)) ?? 0;
  const pools = createPoolCache({ view, clock, assignedBytes: () => assigned });

  function place(requests: readonly PlaceRequest[]): Placement | undefined {
    const given = new Map<number, number>();
    const takenBy = (rowId: bigint) => assignedBytesOf(rowId) + (given.get(Number(rowId)) ?? 0);
    const nodes = new Map<string, readonly bigint[]>();
    const relaxed = new Set<SoftRule>();
    const ofCall = createCallPools(pools.current(), (sizeBytes) => {
      const taken = [...given].map(([rowId, bytes]) => [rowId, bytes + (assigned.get(rowId) ?? 0)] as const);
      return buildPools(pools.roster(), new Map([...assigned, ...taken]), sizeBytes);
    });
    for (const request of requests) {
      const sizeBytes = Number(request.sizeBytes);
      let current = ofCall.latest(sizeBytes);
      let drawn = drawNodes(current, toDrawRequest(current.roster, request, takenBy), random);
      if (drawn === undefined) {
        current = ofCall.rebuilt(sizeBytes) ?? current;
        drawn = drawNodes(current, toDrawRequest(current.roster, request, takenBy), random);
      }
      if (drawn === undefined && !request.isOptional) return undefined;
      drawn ??= drawFewer(current, toDrawRequest(current.roster, request, takenBy));
      const chosen = (drawn?.chosen ?? []).flatMap((position) => current.roster.nodes[position]?.rowId ?? []);
      for (const rowId of chosen) given.set(Number(rowId), (given.get(Number(rowId)) ?? 0) + sizeBytes);
      for (const rule of drawn?.relaxed ?? []) relaxed.add(rule);
      nodes.set(request.chunkHash, chosen);
    }
    return { nodes, relaxed };
  }

  /** One of two missing replicas is better than none: the last one that there is may go meanwhile. */
  function drawFewer(from: Pools, request: DrawRequest) {
    for (let count = request.count - 1; count > 0; count -= 1) {
      const drawn = drawNodes(from, { ...request, count }, random);
      if (drawn !== undefined) return drawn;
    }
    return undefined;
  }

  return {
    place,
    assignedBytesOf,
    hasEligible: (sizeBytes, count) => {
      let left = count;
      for (const candidate of view.candidates()) {
        if (keepsHardRules(candidate, roomOf(candidate, assignedBytesOf(candidate.rowId)), sizeBytes)) left -= 1;
        if (left <= 0) return true;
      }
      return false;
    },
    readingAssigned: () => {
      sinceReading = new Map();
    },
    replaceAssigned: (bytesByRowId) => {
      assigned = new Map([...bytesByRowId].map(([rowId, bytes]) => [Number(rowId), bytes]));
      for (const [rowId, bytes] of sinceReading) add(assigned, rowId, bytes);
    },
    assigned: (rowId, bytes) => {
      add(assigned, Number(rowId), bytes);
      add(sinceReading, Number(rowId), bytes);
    },
  };
}

function add(sums: Map<number, number>, rowId: number, bytes: number): void {
  sums.set(rowId, Math.max(0, (sums.get(rowId) ?? 0) + bytes));
}

/** Roster and pools of the last build, as long as they are young enough. */
function createPoolCache(deps: {
  readonly view: NetworkView;
  readonly clock: Clock;
  readonly assignedBytes: () => ReadonlyMap<number, number>;
}) {
  const { view, clock, assignedBytes } = deps;
  const cache: { roster: Roster | undefined; pools: Pools | undefined; builtAtMs: number } = {
    roster: undefined,
    pools: undefined,
    builtAtMs: 0,
  };
  function roster(): Roster {
    const candidates = view.candidates();
    if (cache.roster === undefined || !isCurrent(cache.roster, candidates)) cache.roster = buildRoster(candidates);
    return cache.roster;
  }
  return {
    roster,
    current: (): Pools => {
      const maxAgeMs = Math.min(MAX_POOL_AGE_MS, view.candidates().length * POOL_AGE_MS_PER_NODE);
      if (cache.pools === undefined || clock.monotonicMs() - cache.builtAtMs > maxAgeMs) {
        cache.pools = buildPools(roster(), assignedBytes(), 1);
        cache.builtAtMs = clock.monotonicMs();
      }
      return cache.pools;
    },
  };
}

/** Nodes that the roster does not have are left out: they are gone, or came a moment ago. */
function toDrawRequest(roster: Roster, request: PlaceRequest, takenBytesOf: (rowId: bigint) => number): DrawRequest {
  const positionsOf = (rowIds: readonly bigint[]) =>
    rowIds.flatMap((rowId) => roster.positions.get(Number(rowId)) ?? []);
  const sizeBytes = Number(request.sizeBytes);
  return {
    count: request.count,
    holders: positionsOf(request.holders),
    barred: positionsOf(request.barred),
    accept: (position) => {
      const node = roster.nodes[position];
      return node !== undefined && keepsHardRules(node, roomOf(node, takenBytesOf(node.rowId)), sizeBytes);
    },
  };
}
