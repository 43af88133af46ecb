import type { MethodImpl } from "@connectrpc/connect";
import { ReplicaLossCause } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import type { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { ChunkHooks, Deps } from "../deps.ts";
import { callingNode } from "../directory/calling-node.worker.ts";
import { checkHashes } from "./check-hashes.ts";
import { recordLosses } from "./record-losses.worker.ts";

export function reportLostChunks(
  deps: Pick<Deps, "pool" | "outbox" | "clock" | "view"> & ChunkHooks,
): MethodImpl<typeof NodeService.method.reportLostChunks> {
  return async ({ chunkHashes }, context) => {
    const node = await callingNode(deps, context);
    validate((check) => checkHashes(check, chunkHashes, { max: 1_000 }));
    const losses = [...new Set(chunkHashes)].map((chunkHash) => ({
      chunkHash,
      nodeRowId: node.rowId,
      nodeId: node.nodeId,
    }));
    await transact(deps, async (tx) => {
      const terms = { cause: ReplicaLossCause.REPORTED_BY_NODE, mayReturn: false };
      const lost = await recordLosses(deps, tx, losses, terms);
      await deps.onLossReported?.(tx, lost);
      await deps.onAbsenceReported?.(tx, losses);
    });
    return {};
  };
}
