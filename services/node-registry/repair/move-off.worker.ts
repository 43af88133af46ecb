import { ReplicaLossCause } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { type Chunk, lockChunks } from "../chunks/chunks.store.ts";
import { insertDeletions } from "../chunks/deletions.store.ts";
import { sortedHashes } from "../chunks/hashes.ts";
import { changeHoldings, collectHoldingChanges } from "../chunks/holdings.store.ts";
import { type Loss, recordLossesOf } from "../chunks/record-losses.worker.ts";
import { type Replica, readReplicas } from "../chunks/replicas.store.ts";
import { pairKey } from "../chunks/report-outcomes.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import { findChallenged } from "../proofs/challenges.store.ts";
import type { RepairDeps } from "./repair-deps.ts";
import { lockReplicas } from "./repairs.store.ts";

/**
 * Takes replicas from draining nodes, and tells those to delete them, where every wanted replica is on nodes that stay and
 * can serve it now: decided under the chunks' locks. What a node is being asked to prove stays until it has answered, or
 * its own removal would look like its failure. Answers how many went.
 */
export async function moveOff(deps: RepairDeps, hashes: readonly string[]): Promise<number> {
  if (hashes.length === 0 || !deps.view.candidates().some(({ state }) => state === "draining")) return 0;
  return transact(deps, async (tx) => {
    const locked = await lockChunks(tx, sortedHashes(hashes));
    const replicas = Map.groupBy(
      await readReplicas(
        tx,
        locked.map((chunk) => chunk.chunkHash),
      ),
      (replica) => replica.chunkHash,
    );
    const spare = locked.flatMap((chunk) => spareReplicas(deps, chunk, replicas.get(chunk.chunkHash) ?? []));
    if (spare.length === 0) return 0;
    // Nobody can be asked for a replica whose row is locked, so after this no challenge to it can come up.
    await lockReplicas(tx, spare);
    const asked = new Set(
      (await findChallenged(tx, spare)).map(({ nodeRowId, chunkHash }) => pairKey(nodeRowId, chunkHash)),
    );
    const losses = spare.filter(({ nodeRowId, chunkHash }) => !asked.has(pairKey(nodeRowId, chunkHash)));
    const terms = { cause: ReplicaLossCause.MOVED, mayReturn: false };
    const moved = await recordLossesOf(deps, tx, { losses, locked, ...terms });
    await orderDeletions(deps, tx, moved);
    return moved.length;
  });
}

function spareReplicas(deps: RepairDeps, chunk: Chunk, replicas: readonly Replica[]): Loss[] {
  if (chunk.isReleased || !chunk.hasQuorum) return [];
  const confirmed = replicas.flatMap(({ state, nodeRowId }) => {
    const node = state === "confirmed" ? deps.view.nodeByRowId(nodeRowId) : undefined;
    return node === undefined ? [] : [node];
  });
  if (confirmed.filter(staysAndServes).length < chunk.wantedReplicas) return [];
  return confirmed
    .filter(({ state }) => state === "draining")
    .map(({ rowId, nodeId }) => ({ chunkHash: chunk.chunkHash, nodeRowId: rowId, nodeId }));
}

/** Stricter than what counts as live: of maintenance and half-silent nodes nobody knows yet whether they come back. */
function staysAndServes({ state, liveness }: NodeRecord): boolean {
  return state === "in_service" && liveness === "online";
}

async function orderDeletions(deps: RepairDeps, tx: Transaction, moved: readonly Loss[]): Promise<void> {
  const now = deps.clock.now();
  await insertDeletions(
    tx,
    moved.map(({ chunkHash, nodeRowId }) => ({ chunkHash, nodeRowId, cause: "not_placed" })),
    now,
  );
  const changes = collectHoldingChanges();
  for (const { nodeRowId } of moved) changes.of(nodeRowId).pendingDeletions += 1n;
  await changeHoldings(tx, changes, now);
}
