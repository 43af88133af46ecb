import {
  NodeDeregisteredSchema,
  NodeDisqualifiedSchema,
  NodeRegisteredSchema,
  NodeReputationChangedSchema,
  NodeStateChangedSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import { type EventAddress, newEvent, type OutboxEvent } from "#platform/outbox/outbox.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { NodeStateName } from "./network-view.ts";
import { toProtoNodeState } from "./node-record.ts";

function addressOf(word: string, nodeId: string, keyVersion: bigint, clock: Clock): EventAddress {
  return { subject: `decentrastore.node.${word}.${nodeId}`, key: nodeId, keyVersion, clock };
}

export function nodeRegistered(
  node: {
    readonly nodeId: string;
    readonly address: { readonly host: string; readonly port: number };
    readonly region: string;
    readonly softwareVersion: string;
    readonly capacityGb: number;
  },
  keyVersion: bigint,
  clock: Clock,
): OutboxEvent {
  return newEvent(NodeRegisteredSchema, addressOf("registered", node.nodeId, keyVersion, clock), {
    nodeId: node.nodeId,
    address: { host: node.address.host, port: node.address.port },
    region: node.region,
    softwareVersion: node.softwareVersion,
    capacityGb: node.capacityGb,
    createdAt: toTimestamp(clock.now()),
  });
}

export interface StateChange {
  readonly nodeId: string;
  readonly previous: NodeStateName;
  readonly state: NodeStateName;
  readonly reason: string;
  readonly maintenanceUntil: Temporal.Instant | null;
  readonly reputationScore: number;
}

/**
 * `node.state_changed`, and after it `node.disqualified` or `node.deregistered` where that is the new state.
 * `lastVersion` is the event version after the change, raised by as many as `stateEventCount` says.
 */
export function stateChanged(change: StateChange, lastVersion: bigint, clock: Clock): OutboxEvent[] {
  const { nodeId, reason } = change;
  const count = stateEventCount(change.state);
  const first = newEvent(
    NodeStateChangedSchema,
    addressOf("state_changed", nodeId, lastVersion - BigInt(count) + 1n, clock),
    {
      nodeId,
      previousState: toProtoNodeState(change.previous),
      state: toProtoNodeState(change.state),
      reason,
      ...(change.maintenanceUntil === null ? {} : { maintenanceUntil: toTimestamp(change.maintenanceUntil) }),
    },
  );
  if (change.state === "disqualified") {
    const at = addressOf("disqualified", nodeId, lastVersion, clock);
    return [first, newEvent(NodeDisqualifiedSchema, at, { nodeId, reason, reputationScore: change.reputationScore })];
  }
  if (change.state === "deregistered") {
    const at = addressOf("deregistered", nodeId, lastVersion, clock);
    return [first, newEvent(NodeDeregisteredSchema, at, { nodeId, reason })];
  }
  return [first];
}

export function stateEventCount(state: NodeStateName): 1 | 2 {
  return state === "disqualified" || state === "deregistered" ? 2 : 1;
}

export function reputationChanged(
  change: {
    readonly nodeId: string;
    readonly previousScore: number;
    readonly score: number;
    readonly isOnProbation: boolean;
    readonly reason: string;
  },
  keyVersion: bigint,
  clock: Clock,
): OutboxEvent {
  return newEvent(NodeReputationChangedSchema, addressOf("reputation_changed", change.nodeId, keyVersion, clock), {
    nodeId: change.nodeId,
    previousScore: change.previousScore,
    reputationScore: change.score,
    isOnProbation: change.isOnProbation,
    reason: change.reason,
  });
}
