import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import {
  GetNodeResponseSchema,
  type NodeDirectoryService,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { validate } from "#platform/rpc/validate.ts";
import { nodeNotFound } from "../errors.ts";
import type { ListDeps } from "./list-nodes.rpc.ts";
import { toProtoNode } from "./node-record.ts";
import { findNodeRecord } from "./nodes.store.ts";

/**
 * From the database, so that every replica gives the same answer. A process that is the only one has put into its view
 * what it committed, and spares the query; nodes that left are not there.
 */
export function getNode(deps: ListDeps): MethodImpl<typeof NodeDirectoryService.method.getNode> {
  return async (request) => {
    validate((check) => check.hash("node_id", request.nodeId));
    const known = deps.directory.isShared() ? undefined : deps.view.node(request.nodeId);
    const record = known ?? (await findNodeRecord(deps.pool, request.nodeId));
    if (record === undefined) throw nodeNotFound();
    return create(GetNodeResponseSchema, { node: toProtoNode(record) });
  };
}
