import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import { z } from "zod";
import {
  type ListNodesRequest,
  ListNodesResponseSchema,
  type NodeDirectoryService,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { nextPageToken, pageOf } from "#platform/rpc/paging.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import type { Directory } from "./directory.worker.ts";
import { type NodeRecord, toProtoNode } from "./node-record.ts";
import { selectFigures } from "./nodes.store.ts";

const zCursor = z.strictObject({ after: z.string().regex(/^[0-9a-f]{64}$/) });

export interface ListDeps extends Pick<Deps, "pool" | "view"> {
  readonly directory: Pick<Directory, "caughtUp" | "isShared">;
}

/**
 * From the view, after it has caught up with all that was committed before the call: so every replica gives the same
 * answer, and one page of 100,000 nodes costs PostgreSQL one small row. Where other processes write leases too, the
 * page's figures come from PostgreSQL, and only the choice by `min_free_bytes` may be a heartbeat interval behind.
 */
export function listNodes(deps: ListDeps): MethodImpl<typeof NodeDirectoryService.method.listNodes> {
  return async (request, context) => {
    validate((check) => {
      check.int("min_capacity_gb", request.minCapacityGb, { min: 0 });
      check.int("min_free_bytes", request.minFreeBytes, { min: 0n });
      check.text("region", request.region, { max: 64 });
    });
    const page = pageOf(request, zCursor);
    await deps.directory.caughtUp(context.signal);
    const found = take(deps.view.after(page.after?.after ?? ""), request, page.limit);
    const pageToken = nextPageToken(found, page.limit, (last) => ({ after: last.nodeId }));
    // Made before the next wait: the entries of the view change in place.
    const nodes = deps.directory.isShared() ? await withStoredFigures(deps, request, found) : found;
    return create(ListNodesResponseSchema, { nodes: nodes.map(toProtoNode), nextPageToken: pageToken });
  };
}

function take(nodes: Iterable<NodeRecord>, request: ListNodesRequest, limit: number): NodeRecord[] {
  const minFreeBytes = Number(request.minFreeBytes);
  const found: NodeRecord[] = [];
  for (const node of nodes) {
    if (request.onlyActive && !node.isActive) continue;
    if (node.capacityGb < request.minCapacityGb || node.freeBytes < minFreeBytes) continue;
    if (request.region !== "" && node.region !== request.region) continue;
    found.push(node);
    if (found.length === limit) break;
  }
  return found;
}

async function withStoredFigures(
  deps: ListDeps,
  request: ListNodesRequest,
  found: readonly NodeRecord[],
): Promise<NodeRecord[]> {
  const nodes = found.map((node) => ({ ...node }));
  const rows = await selectFigures(
    deps.pool,
    nodes.map((node) => node.rowId),
  );
  const figures = new Map(rows.map((row) => [row.rowId, row]));
  return nodes
    .map((node) => ({ ...node, ...figures.get(node.rowId) }))
    .filter((node) => node.freeBytes >= Number(request.minFreeBytes));
}
