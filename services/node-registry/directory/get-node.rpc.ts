import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import {
  GetNodeResponseSchema,
  type NodeDirectoryService,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { nodeNotFound } from "../errors.ts";
import { toProtoNode } from "./node-record.ts";
import { findNodeRecord } from "./nodes.store.ts";

/** From the database and not from the view, so that every replica gives the same answer. */
export function getNode(deps: Deps): MethodImpl<typeof NodeDirectoryService.method.getNode> {
  return async (request) => {
    validate((check) => check.hash("node_id", request.nodeId));
    const record = await findNodeRecord(deps.pool, request.nodeId);
    if (record === undefined) throw nodeNotFound();
    return create(GetNodeResponseSchema, { node: toProtoNode(record) });
  };
}
