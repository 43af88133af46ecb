import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import {
  type GetNetworkStatsResponse,
  GetNetworkStatsResponseSchema,
  type NodeDirectoryService,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import type { ChunkRooms, Deps } from "../deps.ts";
import type { ListDeps } from "../directory/list-nodes.rpc.ts";
import type { LivenessName } from "../directory/network-view.ts";
import { BYTES_PER_GB, nodeStateNames, toProtoNodeLiveness, toProtoNodeState } from "../directory/node-record.ts";
import { countDeregistered, sumFigures } from "./network-stats.store.ts";
import { atMostInt64, type NetworkTotals, totalsOf } from "./network-totals.ts";
import { selectSweepState } from "./sweep.store.ts";
import { toProtoSweep } from "./sweep-message.ts";
import { livenessTimes } from "./times.ts";

const livenessNames: readonly LivenessName[] = ["never_seen", "online", "suspect", "offline"];
const GB = BigInt(BYTES_PER_GB);
const MAX_LISTED = 100;
/** Longer than the view is ever behind a database that answers. */
const CATCH_UP_MS = 10_000;

type StatsDeps = Deps & ListDeps & { readonly chunkRooms: ChunkRooms };

/**
 * Counted in the view, after it has caught up with all that was committed before; where other processes write leases too,
 * the figures are summed by PostgreSQL. Once for all who ask at the same time.
 */
export function getNetworkStats(deps: StatsDeps): MethodImpl<typeof NodeDirectoryService.method.getNetworkStats> {
  let running: Promise<GetNetworkStatsResponse> | undefined;
  return async () => {
    running ??= collect(deps).finally(() => {
      running = undefined;
    });
    return running;
  };
}

async function collect(deps: StatsDeps): Promise<GetNetworkStatsResponse> {
  // One after the other: a statistic must not take four connections from heartbeats.
  const deregistered = await countDeregistered(deps.pool);
  const figures = deps.directory.isShared() ? await sumFigures(deps.pool) : undefined;
  const sweep = await selectSweepState(deps.pool);
  const chunks = (await deps.chunkRooms.networkStats?.()) ?? {};
  await deps.directory.caughtUp(AbortSignal.timeout(CATCH_UP_MS));
  const totals = totalsOf(deps.view.candidates());
  return create(GetNetworkStatsResponseSchema, {
    ...chunks,
    revision: deps.view.revision,
    activeNodes: totals.active,
    states: nodeStateNames.map((state) => ({
      state: toProtoNodeState(state),
      nodes: state === "deregistered" ? deregistered : (totals.states.get(state) ?? 0),
    })),
    livenesses: livenessNames.map((liveness) => ({
      liveness: toProtoNodeLiveness(liveness),
      nodes: totals.livenesses.get(liveness) ?? 0,
    })),
    probationNodes: totals.onProbation,
    capacityBytes: BigInt(totals.capacityGb) * GB,
    ...sumsOf(totals, figures),
    softwareVersions: mostFirst(totals.versions, (nodes) => nodes).map(([softwareVersion, nodes]) => ({
      softwareVersion,
      nodes,
    })),
    sweep: toProtoSweep(sweep, livenessTimes(deps.config.NODE_LEASE_TTL)),
  });
}

function sumsOf(totals: NetworkTotals, figures: Awaited<ReturnType<typeof sumFigures>> | undefined) {
  const stored = new Map(figures?.map((row) => [row.region, BigInt(row.free_bytes)]));
  const sum = (values: readonly string[]) => atMostInt64(values.reduce((all, value) => all + BigInt(value), 0n));
  return {
    usedBytes: figures === undefined ? totals.usedBytes : sum(figures.map((row) => row.used_bytes)),
    freeBytes: figures === undefined ? totals.freeBytes : sum(figures.map((row) => row.free_bytes)),
    regions: mostFirst(totals.regions, (region) => region.nodes).map(([region, { nodes, capacityGb, freeBytes }]) => ({
      region,
      nodes,
      capacityBytes: BigInt(capacityGb) * GB,
      freeBytes: atMostInt64(stored.get(region) ?? freeBytes),
    })),
  };
}

function mostFirst<T>(groups: ReadonlyMap<string, T>, nodesOf: (group: T) => number): [string, T][] {
  return [...groups]
    .sort(([a, left], [b, right]) => nodesOf(right) - nodesOf(left) || (a < b ? -1 : 1))
    .slice(0, MAX_LISTED);
}
