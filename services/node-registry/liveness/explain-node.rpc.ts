import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import {
  ExplainNodeResponseSchema,
  type NodeDirectoryService,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import type { NodeLeaseSchema, NodeTransitionSchema } from "#gen/decentrastore/node_registry/v1/node_explanation_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { ChunkRooms, Deps } from "../deps.ts";
import { toProtoNode, toProtoNodeLiveness, toProtoNodeState } from "../directory/node-record.ts";
import { findNodeRecord } from "../directory/nodes.store.ts";
import { nodeNotFound } from "../errors.ts";
import { type LeaseRow, selectLease, selectTransitions, type TransitionRow } from "./explanation.store.ts";
import { toProtoLivenessCause } from "./liveness-changed.event.ts";

export function explainNode(
  deps: Deps & { readonly chunkRooms: ChunkRooms },
): MethodImpl<typeof NodeDirectoryService.method.explainNode> {
  return async (request) => {
    validate((check) => check.hash("node_id", request.nodeId));
    const record = await findNodeRecord(deps.pool, request.nodeId);
    if (record === undefined) throw nodeNotFound();
    const lease = await selectLease(deps.pool, record.rowId);
    const transitions = await selectTransitions(deps.pool, record.rowId);
    const expiresAt = record.certificateExpiresAt;
    return create(ExplainNodeResponseSchema, {
      ...((await deps.chunkRooms.explainNode?.(record)) ?? {}),
      node: toProtoNode(record),
      lease: toLease(lease, deps.config.NODE_LEASE_TTL),
      transitions: transitions.map(toTransition),
      ...(expiresAt === null ? {} : { certificateExpiresAt: toTimestamp(expiresAt) }),
    });
  };
}

function toLease(row: LeaseRow, leaseTtlMs: number): MessageInitShape<typeof NodeLeaseSchema> {
  const beat = row.last_beat;
  return {
    ...(beat === null
      ? {}
      : {
          lastHeartbeat: toTimestamp(beat),
          suspectAt: toTimestamp(beat.add({ milliseconds: leaseTtlMs / 2 })),
          expiresAt: toTimestamp(beat.add({ milliseconds: leaseTtlMs })),
        }),
    sequence: row.sequence,
    epoch: Number(row.epoch),
    holder: row.holder ?? "",
    peerNetwork: row.peer_network,
    areFiguresClamped: row.is_free_clamped,
  };
}

/** A row has both as they were at the moment; what did not change is no part of the change. */
function toTransition(row: TransitionRow): MessageInitShape<typeof NodeTransitionSchema> {
  return {
    occurredAt: toTimestamp(row.occurred_at),
    ...(row.kind === "liveness" ? {} : stateOf(row)),
    ...(row.previous_liveness === row.liveness ? {} : livenessOf(row)),
    evidence: row.evidence,
    actorId: row.actor,
    reason: row.reason,
  };
}

function stateOf(row: TransitionRow) {
  return {
    ...(row.previous_state === null ? {} : { previousState: toProtoNodeState(row.previous_state) }),
    ...(row.state === null ? {} : { state: toProtoNodeState(row.state) }),
  };
}

function livenessOf(row: TransitionRow) {
  return {
    ...(row.previous_liveness === null ? {} : { previousLiveness: toProtoNodeLiveness(row.previous_liveness) }),
    ...(row.liveness === null ? {} : { liveness: toProtoNodeLiveness(row.liveness) }),
    ...(row.liveness_cause === null ? {} : { livenessCause: toProtoLivenessCause(row.liveness_cause) }),
  };
}
