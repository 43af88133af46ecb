import { AddressSchema } from "#gen/decentrastore/node_registry/v1/address_pb.ts";
import { type Node, NodeLiveness, NodeSchema, NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { LivenessName, NodeStateName, PlacementCandidate } from "./network-view.ts";

/** A node with the figures of its lease: what placement sees, and the rest of what the directory tells. */
export interface NodeRecord extends PlacementCandidate {
  readonly softwareVersion: string;
  readonly capacityGb: number;
  readonly chunkCount: number;
  readonly isActive: boolean;
  readonly lastHeartbeat: Temporal.Instant | null;
  readonly maintenanceUntil: Temporal.Instant | null;
  readonly certificateExpiresAt: Temporal.Instant | null;
  readonly certificateAuthorityId: bigint | null;
  readonly createdAt: Temporal.Instant;
}

export const BYTES_PER_GB = 2 ** 30;

const states: Record<NodeStateName, NodeState> = {
  in_service: NodeState.IN_SERVICE,
  draining: NodeState.DRAINING,
  maintenance: NodeState.MAINTENANCE,
  disqualified: NodeState.DISQUALIFIED,
  deregistered: NodeState.DEREGISTERED,
};

const livenesses: Record<LivenessName, NodeLiveness> = {
  never_seen: NodeLiveness.NEVER_SEEN,
  online: NodeLiveness.ONLINE,
  suspect: NodeLiveness.SUSPECT,
  offline: NodeLiveness.OFFLINE,
};

export const nodeStateNames: readonly NodeStateName[] = [
  "in_service",
  "draining",
  "maintenance",
  "disqualified",
  "deregistered",
];

export function toProtoNodeState(name: NodeStateName): NodeState {
  return states[name];
}

/** Undefined for UNSPECIFIED and for values of a newer contract. */
export function fromProtoNodeState(state: NodeState): NodeStateName | undefined {
  return nodeStateNames.find((name) => states[name] === state);
}

export function toProtoNodeLiveness(name: LivenessName): NodeLiveness {
  return livenesses[name];
}

/** A literal and not `create`, which takes five times as long: a list has a thousand of them. */
export function toProtoNode(record: NodeRecord): Node {
  return {
    $typeName: NodeSchema.typeName,
    nodeId: record.nodeId,
    address: { $typeName: AddressSchema.typeName, host: record.address.host, port: record.address.port },
    region: record.region,
    softwareVersion: record.softwareVersion,
    capacityGb: record.capacityGb,
    usedBytes: BigInt(record.usedBytes),
    freeBytes: BigInt(record.freeBytes),
    chunkCount: BigInt(record.chunkCount),
    state: states[record.state],
    liveness: livenesses[record.liveness],
    isActive: record.isActive,
    ...(record.lastHeartbeat === null ? {} : { lastHeartbeat: toTimestamp(record.lastHeartbeat) }),
    ...(record.maintenanceUntil === null ? {} : { maintenanceUntil: toTimestamp(record.maintenanceUntil) }),
    reputationScore: record.reputationScore,
    isOnProbation: record.isOnProbation,
    createdAt: toTimestamp(record.createdAt),
    revision: record.revision,
  };
}
