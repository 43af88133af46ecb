import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import { z } from "zod";
import {
  ListNodesResponseSchema,
  type NodeDirectoryService,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { nextPageToken, pageOf } from "#platform/rpc/paging.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { toProtoNode } from "./node-record.ts";
import { listNodeRecords } from "./nodes.store.ts";

const zCursor = z.strictObject({ after: z.string().regex(/^[0-9a-f]{64}$/) });

export function listNodes(deps: Deps): MethodImpl<typeof NodeDirectoryService.method.listNodes> {
  return async (request) => {
    validate((check) => {
      check.int("min_capacity_gb", request.minCapacityGb, { min: 0 });
      check.int("min_free_bytes", request.minFreeBytes, { min: 0n });
      check.text("region", request.region, { max: 64 });
    });
    const page = pageOf(request, zCursor);
    const records = await listNodeRecords(deps.pool, {
      onlyActive: request.onlyActive,
      minCapacityGb: request.minCapacityGb,
      minFreeBytes: request.minFreeBytes,
      region: request.region,
      after: page.after?.after,
      limit: page.limit,
    });
    return create(ListNodesResponseSchema, {
      nodes: records.map(toProtoNode),
      nextPageToken: nextPageToken(records, page.limit, (last) => ({ after: last.nodeId })),
    });
  };
}
