import { create } from "@bufbuild/protobuf";
import { Code, type MethodImpl } from "@connectrpc/connect";
import {
  type NodeDirectoryService,
  type SetNodeStateRequest,
  SetNodeStateResponseSchema,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { fromTimestamp } from "#platform/rpc/time.ts";
import { type Check, validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { nodeNotFound, registryError } from "../errors.ts";
import { changeState } from "./change-state.worker.ts";
import { fromProtoNodeState, toProtoNode } from "./node-record.ts";

export function setNodeState(deps: Deps): MethodImpl<typeof NodeDirectoryService.method.setNodeState> {
  return async (request, context) => {
    const state = fromProtoNodeState(request.state);
    validate((check) => {
      check.hash("node_id", request.nodeId);
      check.text("reason", request.reason, { min: 1, max: 500 });
      if (state === undefined) check.fail("state", "must be one of the documented values");
      checkMaintenance(check, request, state === "maintenance", deps.clock.now());
    });
    if (state === undefined) throw new Error("an unknown state passed validation");
    const result = await changeState(deps, request.nodeId, {
      state,
      maintenanceUntil:
        request.maintenanceUntil === undefined ? null : storable(fromTimestamp(request.maintenanceUntil)),
      reason: request.reason,
      actor: userCallerOf(context).userId,
    });
    if (result === "unknown") throw nodeNotFound();
    if (result === "conflict") {
      throw registryError(
        Code.FailedPrecondition,
        "NODE_STATE_CONFLICT",
        "the node has deregistered; it comes back by enrolling again",
      );
    }
    return create(SetNodeStateResponseSchema, { node: toProtoNode(result) });
  };
}

/** PostgreSQL keeps microseconds; a repeat must compare equal to what was stored. */
function storable(instant: Temporal.Instant): Temporal.Instant {
  return instant.round({ smallestUnit: "microsecond", roundingMode: "floor" });
}

function checkMaintenance(check: Check, request: SetNodeStateRequest, isWanted: boolean, now: Temporal.Instant): void {
  const until = request.maintenanceUntil;
  if (!isWanted) {
    if (until !== undefined) check.fail("maintenance_until", "must be absent with this state");
    return;
  }
  check.instantPresent("maintenance_until", until);
  if (until !== undefined && Number(until.seconds) * 1_000 <= now.epochMilliseconds) {
    check.fail("maintenance_until", "must be in the future");
  }
}
