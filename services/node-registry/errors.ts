import { ErrorReason } from "#gen/decentrastore/node_registry/v1/error_reason_pb.ts";
import { errorsOf } from "#platform/rpc/errors.ts";

/** Errors of the node-registry: each names a documented reason of its contract. */
export const registryError = errorsOf(ErrorReason);
