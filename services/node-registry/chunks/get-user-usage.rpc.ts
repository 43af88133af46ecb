import type { MethodImpl } from "@connectrpc/connect";
import type { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { isPublishedUpTo, readUsage } from "./user-usage.store.ts";

export function getUserUsage(deps: Pick<Deps, "pool">): MethodImpl<typeof ChunkService.method.getUserUsage> {
  return async ({ userId }) => {
    validate((check) => check.uuid("user_id", userId));
    const usage = await deps.pool.transaction((tx) => readUsage(tx, userId));
    return {
      chargedBytes: usage.chargedBytes,
      chargedChunks: Number(usage.chargedChunks),
      outboxPosition: usage.outboxPosition,
      isPublished: await isPublishedUpTo(deps.pool, usage.outboxPosition),
    };
  };
}
