import type { Clock } from "#platform/time/clock.ts";
import type { NetworkView } from "../directory/network-view.ts";
import { type DrawRequest, drawNodes, type Located, type SoftRule } from "./draw.ts";
import { type BuiltPools, buildPools } from "./pools.ts";
import { brokenHardRule } from "./scoring.ts";

/** One chunk that needs nodes. */
export interface PlaceRequest {
  readonly chunkHash: string;
  readonly sizeBytes: bigint;
  readonly count: number;
  /** storage_nodes.id of nodes that hold, or are assigned, the chunk. */
  readonly holders: readonly bigint[];
  /** Of nodes that may not get it: deletions that they have not confirmed, nodes that failed the client. */
  readonly barred: readonly bigint[];
  /** Whether the chunk can do without where there are too few nodes: it has replicas already. */
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
  /** The same of all nodes as the database has it now. */
  replaceAssigned(bytesByRowId: ReadonlyMap<bigint, number>): void;
  /** What this process has just committed. */
  assigned(rowId: bigint, bytes: number): void;
}

// Building the pools takes about 0.2 ms per thousand nodes: this spends at most a fiftieth of the time on it.
const POOL_AGE_MS_PER_NODE = 0.01;
const MAX_POOL_AGE_MS = 1_000;
const MAX_REBUILDS_PER_CALL = 20;

export function createPlacer(deps: { view: NetworkView; clock: Clock; random: () => number }): Placer {
  const { view, clock, random } = deps;
  let assigned: Map<bigint, number> = new Map();
  const cache: { pools: BuiltPools | undefined; builtAtMs: number; revision: bigint } = {
    pools: undefined,
    builtAtMs: 0,
    revision: -1n,
  };

  function currentPools(): BuiltPools {
    const candidates = view.candidates();
    const maxAgeMs = Math.min(MAX_POOL_AGE_MS, candidates.length * POOL_AGE_MS_PER_NODE);
    const ageMs = clock.monotonicMs() - cache.builtAtMs;
    if (cache.pools === undefined || ageMs > maxAgeMs || (cache.revision !== view.revision && ageMs > maxAgeMs / 4)) {
      cache.pools = buildPools(candidates, assignedBytesOf, 1);
      cache.builtAtMs = clock.monotonicMs();
      cache.revision = view.revision;
    }
    return cache.pools;
  }

  function assignedBytesOf(rowId: bigint): number {
    return assigned.get(rowId) ?? 0;
  }

  function place(requests: readonly PlaceRequest[]): Placement | undefined {
    const given = new Map<bigint, number>();
    const nodes = new Map<string, readonly bigint[]>();
    const relaxed = new Set<SoftRule>();
    let pools = currentPools();
    let rebuilds = 0;
    for (const request of requests) {
      const sizeBytes = Number(request.sizeBytes);
      const takenBy = (rowId: bigint) => assignedBytesOf(rowId) + (given.get(rowId) ?? 0);
      const asked = toDrawRequest(view, request, (rowId) => locate(view, rowId, takenBy(rowId), sizeBytes));
      let drawn = drawNodes(pools, asked, random);
      if (drawn === undefined && rebuilds < MAX_REBUILDS_PER_CALL) {
        rebuilds += 1;
        pools = buildPools(view.candidates(), takenBy, sizeBytes);
        drawn = drawNodes(pools, asked, random);
      }
      if (drawn === undefined && !request.isOptional) return undefined;
      const chosen = drawn?.chosen ?? [];
      for (const { rowId } of chosen) given.set(rowId, (given.get(rowId) ?? 0) + sizeBytes);
      for (const rule of drawn?.relaxed ?? []) relaxed.add(rule);
      nodes.set(
        request.chunkHash,
        chosen.map((node) => node.rowId),
      );
    }
    return { nodes, relaxed };
  }

  return {
    place,
    assignedBytesOf,
    hasEligible: (sizeBytes, count) => {
      let left = count;
      for (const candidate of view.candidates()) {
        if (brokenHardRule(candidate, assignedBytesOf(candidate.rowId), sizeBytes) === undefined) left -= 1;
        if (left <= 0) return true;
      }
      return false;
    },
    replaceAssigned: (bytesByRowId) => {
      assigned = new Map(bytesByRowId);
    },
    assigned: (rowId, bytes) => {
      assigned.set(rowId, Math.max(0, assignedBytesOf(rowId) + bytes));
    },
  };
}

function toDrawRequest(view: NetworkView, request: PlaceRequest, accept: DrawRequest["accept"]): DrawRequest {
  const holders: Located[] = [];
  for (const rowId of request.holders) {
    const node = view.nodeByRowId(rowId);
    holders.push({ rowId, network: node?.peerNetwork ?? "", region: node?.region ?? "" });
  }
  return { count: request.count, holders, barred: request.barred, accept };
}

function locate(view: NetworkView, rowId: bigint, assignedBytes: number, sizeBytes: number): Located | undefined {
  const node = view.nodeByRowId(rowId);
  if (node === undefined || brokenHardRule(node, assignedBytes, sizeBytes) !== undefined) return undefined;
  return { rowId, network: node.peerNetwork, region: node.region };
}
