import { transact } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { isThere } from "../chunks/availability.worker.ts";
import { type Chunk, lockChunks } from "../chunks/chunks.store.ts";
import { insertDeletions } from "../chunks/deletions.store.ts";
import { sortedHashes } from "../chunks/hashes.ts";
import { changeHoldings, collectHoldingChanges } from "../chunks/holdings.store.ts";
import { togetherOrOneByOne } from "../chunks/one-by-one.worker.ts";
import { deleteReplicas, type Pair, readPairs } from "../chunks/replicas.store.ts";
import type { RepairDeps } from "./repair-deps.ts";
import { deletePauses, deleteRepairs, type OpenRepair } from "./repairs.store.ts";

export interface EndedRepairs {
  readonly done: readonly OpenRepair[];
  /** Given up: another node is to be chosen. */
  readonly failed: readonly OpenRepair[];
}

/**
 * Which of them have come to an end. A node that is gone, out of time or out of sources is not waited for, nor for a
 * deadline that is so far away that a clock was wrong when it was set.
 */
export function sortOutRepairs(
  deps: Pick<RepairDeps, "clock" | "view" | "config">,
  repairs: readonly OpenRepair[],
): EndedRepairs {
  const nowMs = deps.clock.now().epochMilliseconds;
  const isTimely = (deadline: Temporal.Instant) => {
    const leftMs = deadline.epochMilliseconds - nowMs;
    return leftMs > 0 && leftMs <= 2 * deps.config.REPAIR_TIMEOUT;
  };
  const isOver = ({ deadline, nodeRowId, isRefused }: OpenRepair) =>
    isRefused || !isTimely(deadline) || !isThere(deps.view.nodeByRowId(nodeRowId));
  return {
    done: repairs.filter((repair) => repair.state !== "assigned"),
    failed: repairs.filter((repair) => repair.state === "assigned" && isOver(repair)),
  };
}

/** Clears away what has ended: what was not fetched is taken back, and the node deletes it if it comes after all. */
export async function endRepairs(deps: RepairDeps, { done, failed }: EndedRepairs): Promise<void> {
  const now = deps.clock.now();
  const nameOf = ({ chunkHash, nodeRowId }: OpenRepair) => `${chunkHash} on ${nodeRowId}`;
  const endFailed = (some: readonly OpenRepair[]) =>
    transact(deps, async (tx) => {
      const locked = await lockChunks(tx, sortedHashes(some.map((repair) => repair.chunkHash)));
      const ended = await deleteRepairs(tx, some);
      const failedHere = some.filter(({ commandId }) => ended.has(commandId));
      await takeBack(tx, failedHere, { locked, now });
    });
  await togetherOrOneByOne(deps, failed, endFailed, nameOf);
  if (done.length === 0) return;
  await transact(deps, async (tx) => {
    await deleteRepairs(tx, done);
    const repaired = done.filter((repair) => repair.state === "confirmed").map((repair) => repair.chunkHash);
    await deletePauses(tx, repaired, now.subtract({ hours: 24 }));
  });
}

async function takeBack(
  tx: Transaction,
  failed: readonly OpenRepair[],
  { locked, now }: { readonly locked: readonly Chunk[]; readonly now: Temporal.Instant },
): Promise<void> {
  const sizes = new Map(locked.map((chunk) => [chunk.chunkHash, chunk.sizeBytes]));
  const known = await readPairs(tx, failed);
  // What was confirmed or released meanwhile is no longer repair's.
  const gone: Pair[] = known.filter(({ replica }) => replica?.state === "assigned" && replica.isRepair);
  await deleteReplicas(tx, gone);
  await insertDeletions(
    tx,
    gone.map(({ chunkHash, nodeRowId }) => ({ chunkHash, nodeRowId, cause: "not_placed" })),
    now,
  );
  const changes = collectHoldingChanges();
  for (const { chunkHash, nodeRowId } of gone) {
    const change = changes.of(nodeRowId);
    change.assignedChunks -= 1n;
    change.assignedBytes -= sizes.get(chunkHash) ?? 0n;
    change.pendingDeletions += 1n;
  }
  await changeHoldings(tx, changes, now);
}
