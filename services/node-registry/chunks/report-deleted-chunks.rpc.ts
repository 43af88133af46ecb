import type { MethodImpl } from "@connectrpc/connect";
import { ReplicaLossCause } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import type { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { ChunkHooks, Deps } from "../deps.ts";
import { callingNode } from "../directory/calling-node.worker.ts";
import { checkHashes } from "./check-hashes.ts";
import { lockChunks } from "./chunks.store.ts";
import { confirmDeletions } from "./deletions.store.ts";
import { sortedHashes } from "./hashes.ts";
import { changeHoldings, collectHoldingChanges } from "./holdings.store.ts";
import type { NodeCommands } from "./node-commands.ts";
import { recordLossesOf } from "./record-losses.worker.ts";

export function reportDeletedChunks(
  deps: Pick<Deps, "pool" | "outbox" | "clock" | "view"> & { readonly commands: NodeCommands },
): MethodImpl<typeof NodeService.method.reportDeletedChunks> {
  return async ({ chunkHashes }, context) => {
    const node = await callingNode(deps, context);
    validate((check) => checkHashes(check, chunkHashes, { max: 1_000 }));
    const hashes = [...new Set(chunkHashes)];
    await transact(deps, (tx) => recordDeleted(deps, tx, node, hashes));
    deps.commands.deleted(node.nodeId, hashes);
    return {};
  };
}

/** What the node was asked to delete is done; what it should have kept is lost. */
async function recordDeleted(
  deps: Pick<Deps, "outbox" | "clock"> & ChunkHooks,
  tx: Transaction,
  node: { readonly rowId: bigint; readonly nodeId: string },
  chunkHashes: readonly string[],
): Promise<void> {
  const locked = await lockChunks(tx, sortedHashes(chunkHashes));
  const confirmed = new Set(await confirmDeletions(tx, node.rowId, chunkHashes));
  const losses = chunkHashes
    .filter((chunkHash) => !confirmed.has(chunkHash))
    .map((chunkHash) => ({ chunkHash, nodeRowId: node.rowId, nodeId: node.nodeId }));
  const terms = { cause: ReplicaLossCause.REPORTED_BY_NODE, mayReturn: false };
  // Replicas first, as everywhere: whoever records a proof of one may wait for the holdings with it in its hands.
  const lost = await recordLossesOf(deps, tx, { losses, locked, ...terms });
  const changes = collectHoldingChanges();
  if (confirmed.size > 0) changes.of(node.rowId).pendingDeletions -= BigInt(confirmed.size);
  await changeHoldings(tx, changes, deps.clock.now());
  await deps.onLossReported?.(tx, lost);
}
