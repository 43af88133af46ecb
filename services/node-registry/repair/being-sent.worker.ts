import type { Connection } from "#platform/postgres/pool.ts";
import { readPending } from "./pending.store.ts";
import type { RepairDeps } from "./repair-deps.ts";

/**
 * How many replicas of each chunk its client may still be sending: a chunk is stored at its quorum, while the rest is under
 * way. Only to nodes that can take them: repair makes at once what was to come to one that is gone or is to leave.
 */
export async function countBeingSent(
  deps: Pick<RepairDeps, "clock" | "config" | "view">,
  db: Connection,
  hashes: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const youngerThan = deps.clock.now().subtract({ milliseconds: deps.config.REPAIR_PENDING_GRACE });
  const pending = await readPending(db, hashes, youngerThan);
  const counts = new Map<string, number>();
  for (const { chunkHash, nodeRowId } of pending) {
    const node = deps.view.nodeByRowId(nodeRowId);
    const canTake = node?.state === "in_service" && (node.liveness === "online" || node.liveness === "suspect");
    if (canTake) counts.set(chunkHash, (counts.get(chunkHash) ?? 0) + 1);
  }
  return counts;
}
