import { create } from "@bufbuild/protobuf";
import { Code, type MethodImpl } from "@connectrpc/connect";
import { DeregisterResponseSchema, type NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { nodeIdOf } from "#platform/rpc/caller.ts";
import { assertAdmitted, findNode } from "../directory/calling-node.worker.ts";
import { changeState, type WantedState } from "../directory/change-state.worker.ts";
import { toProtoNode } from "../directory/node-record.ts";
import { registryError } from "../errors.ts";
import type { EnrollmentDeps } from "./enrollment-deps.ts";

/** The node leaves by itself. The one RPC that still answers a node that has left, so that a lost answer can be had again. */
export function deregister(deps: EnrollmentDeps): MethodImpl<typeof NodeService.method.deregister> {
  return async (_request, context) => {
    const nodeId = nodeIdOf(context);
    const known = await findNode(deps, nodeId);
    if (known !== undefined && known.state !== "deregistered") assertAdmitted(known);
    const leaving = {
      state: "deregistered",
      maintenanceUntil: null,
      reason: "",
      actor: "node",
      // Disqualified in the meantime: leaving must not be a way out of that.
      when: (node) => node.state !== "disqualified",
    } satisfies WantedState;
    const result = await deps.writes.run(() => changeState(deps, nodeId, leaving));
    if (result === "unknown") {
      throw registryError(Code.Unauthenticated, "NODE_CERTIFICATE_INVALID", "the certificate names no enrolled node");
    }
    if (result === "conflict") {
      throw registryError(Code.PermissionDenied, "NODE_DISQUALIFIED", "this node is disqualified");
    }
    return create(DeregisterResponseSchema, { node: toProtoNode(result) });
  };
}
