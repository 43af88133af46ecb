import type { MessageInitShape } from "@bufbuild/protobuf";
import { NodeOfflineSchema, NodeOnlineSchema, NodeSuspectSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { NodeLivenessCause } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { newEvent, type OutboxEvent } from "#platform/outbox/outbox.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { LivenessCause, LivenessChange } from "./liveness.ts";

const causes: Record<LivenessCause, NodeLivenessCause> = {
  first_heartbeat: NodeLivenessCause.FIRST_HEARTBEAT,
  heartbeat_resumed: NodeLivenessCause.HEARTBEAT_RESUMED,
  heartbeats_missed: NodeLivenessCause.HEARTBEATS_MISSED,
  lease_expired: NodeLivenessCause.LEASE_EXPIRED,
};

export function toProtoLivenessCause(cause: LivenessCause): NodeLivenessCause {
  return causes[cause];
}

/** `node.online`, `node.suspect` or `node.offline`. */
export function livenessChanged(change: LivenessChange, keyVersion: bigint, clock: Clock): OutboxEvent {
  const { nodeId, liveness } = change;
  const at = { subject: `decentrastore.node.${liveness}.${nodeId}`, key: nodeId, keyVersion, clock };
  const init: MessageInitShape<typeof NodeOnlineSchema> = {
    nodeId,
    ...(change.lastHeartbeat === null ? {} : { lastHeartbeat: toTimestamp(change.lastHeartbeat) }),
    cause: causes[change.cause],
    evidence: change.evidence,
  };
  if (liveness === "online") return newEvent(NodeOnlineSchema, at, init);
  return newEvent(liveness === "suspect" ? NodeSuspectSchema : NodeOfflineSchema, at, {
    nodeId,
    ...(change.lastHeartbeat === null ? {} : { lastHeartbeat: toTimestamp(change.lastHeartbeat) }),
    cause: causes[change.cause],
    evidence: change.evidence,
  });
}
