import { Code } from "@connectrpc/connect";
import { ErrorReason } from "#gen/decentrastore/node_registry/v1/error_reason_pb.ts";
import { errorsOf, type RpcError } from "#platform/rpc/errors.ts";

/** Errors of the node-registry: each names a documented reason of its contract. */
export const registryError = errorsOf(ErrorReason);

export function nodeNotFound(): RpcError {
  return registryError(Code.NotFound, "NODE_NOT_FOUND", "no node has this node_id");
}
