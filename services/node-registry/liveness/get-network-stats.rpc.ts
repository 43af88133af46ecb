import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import {
  type GetNetworkStatsResponse,
  GetNetworkStatsResponseSchema,
  type NodeDirectoryService,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import type { ChunkRooms, Deps } from "../deps.ts";
import { selectDirectoryHead } from "../directory/changes.store.ts";
import type { LivenessName } from "../directory/network-view.ts";
import { BYTES_PER_GB, nodeStateNames, toProtoNodeLiveness, toProtoNodeState } from "../directory/node-record.ts";
import { countNodes, countVersions, sumRegions } from "./network-stats.store.ts";
import { selectSweepState } from "./sweep.store.ts";
import { toProtoSweep } from "./sweep-message.ts";
import { livenessTimes } from "./times.ts";

const livenessNames: readonly LivenessName[] = ["never_seen", "online", "suspect", "offline"];
const GB = BigInt(BYTES_PER_GB);

/** Counted by PostgreSQL, for all who ask at the same time together. */
export function getNetworkStats(
  deps: Deps & { readonly chunkRooms: ChunkRooms },
): MethodImpl<typeof NodeDirectoryService.method.getNetworkStats> {
  let running: Promise<GetNetworkStatsResponse> | undefined;
  return async () => {
    running ??= collect(deps).finally(() => {
      running = undefined;
    });
    return running;
  };
}

async function collect(deps: Deps & { readonly chunkRooms: ChunkRooms }): Promise<GetNetworkStatsResponse> {
  // One after the other: a statistic must not take four connections from heartbeats.
  const head = await selectDirectoryHead(deps.pool);
  const groups = await countNodes(deps.pool);
  const versions = await countVersions(deps.pool);
  const regions = await sumRegions(deps.pool);
  const sweep = await selectSweepState(deps.pool);
  const chunks = (await deps.chunkRooms.networkStats?.()) ?? {};
  const present = groups.filter((group) => group.state !== "disqualified" && group.state !== "deregistered");
  return create(GetNetworkStatsResponseSchema, {
    ...chunks,
    revision: head.revision,
    activeNodes: total(present.filter((group) => group.is_active)),
    states: nodeStateNames.map((state) => ({
      state: toProtoNodeState(state),
      nodes: total(groups.filter((group) => group.state === state)),
    })),
    livenesses: livenessNames.map((liveness) => ({
      liveness: toProtoNodeLiveness(liveness),
      nodes: total(present.filter((group) => group.liveness === liveness)),
    })),
    probationNodes: total(present.filter((group) => group.is_on_probation)),
    capacityBytes: sum(present.map((group) => group.capacity_gb)) * GB,
    usedBytes: sum(present.map((group) => BigInt(group.used_bytes))),
    freeBytes: sum(present.map((group) => BigInt(group.free_bytes))),
    softwareVersions: versions.map((row) => ({ softwareVersion: row.software_version, nodes: row.nodes })),
    regions: regions.map((row) => ({
      region: row.region,
      nodes: row.nodes,
      capacityBytes: row.capacity_gb * GB,
      freeBytes: BigInt(row.free_bytes),
    })),
    sweep: toProtoSweep(sweep, livenessTimes(deps.config.NODE_LEASE_TTL)),
  });
}

function total(groups: readonly { readonly nodes: number }[]): number {
  return groups.reduce((all, group) => all + group.nodes, 0);
}

function sum(values: readonly bigint[]): bigint {
  return values.reduce((all, value) => all + value, 0n);
}
