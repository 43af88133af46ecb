import type { OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Deps } from "../deps.ts";
import { digestTermOf, negated } from "./chunk-digest.ts";
import { chunkReleased } from "./chunk-released.event.ts";
import { type Chunk, changePayer, endLives } from "./chunks.store.ts";
import { insertDeletions } from "./deletions.store.ts";
import { changeHoldings, collectHoldingChanges, type HoldingChanges } from "./holdings.store.ts";
import { deleteReferences, readUses } from "./references.store.ts";
import { deleteReplicas, type Replica, readReplicas } from "./replicas.store.ts";
import type { DeletionCause } from "./report-outcomes.ts";
import { saveHealth } from "./under-replicated.store.ts";
import { changeUsage, foldUsage } from "./user-usage.store.ts";

type EndDeps = Pick<Deps, "clock" | "outbox">;

/** What has been taken from an upload, and what of it ended with that. */
export interface Dropped {
  /** Chunks whose reference was there. */
  readonly references: readonly Chunk[];
  /** Those of them that nobody uses any more. */
  readonly ended: readonly Chunk[];
}

/**
 * Drops an upload's references to chunks that are locked. A chunk that another upload still uses lives on, and where it
 * still waits for its quorum that upload takes over the charge. Ends nothing yet: `endChunks` does.
 */
export async function dropReferences(tx: Transaction, uploadId: string, locked: readonly Chunk[]): Promise<Dropped> {
  const hashes = await deleteReferences(
    tx,
    uploadId,
    locked.map((chunk) => chunk.chunkHash),
  );
  const dropped = new Set(hashes);
  const references = locked.filter((chunk) => dropped.has(chunk.chunkHash));
  const uses = new Map<string, string>();
  for (const use of await readUses(tx, hashes)) {
    if (!uses.has(use.chunkHash)) uses.set(use.chunkHash, use.uploadId);
  }
  const orphaned = references.filter((chunk) => chunk.payingUploadId === uploadId && !chunk.hasQuorum);
  await changePayer(
    tx,
    orphaned.flatMap(({ chunkHash }) => {
      const next = uses.get(chunkHash);
      return next === undefined ? [] : [{ chunkHash, uploadId: next }];
    }),
  );
  return { references, ended: references.filter((chunk) => !uses.has(chunk.chunkHash)) };
}

export interface Endings {
  /** Chunks that nobody uses any more: locked, still living. */
  readonly chunks: readonly Chunk[];
  /** Living chunks whose unconfirmed assignments nobody waits for any more. */
  readonly trimmed: readonly Chunk[];
  readonly cause: DeletionCause;
}

/**
 * Ends the lives of chunks: nodes are to delete them until each confirms, charges are refunded, and chunk.released tells
 * of it. Answers the events, for the caller to append with its own at the end of the transaction.
 */
export async function endChunks(
  deps: EndDeps,
  tx: Transaction,
  { chunks, trimmed, cause }: Endings,
): Promise<OutboxEvent[]> {
  if (chunks.length + trimmed.length === 0) return [];
  const now = deps.clock.now();
  const ended = new Map(chunks.map((chunk) => [chunk.chunkHash, chunk]));
  const all = new Map([...ended, ...trimmed.map((chunk) => [chunk.chunkHash, chunk] as const)]);
  const replicas = await readReplicas(tx, [...all.keys()]);
  const gone = replicas.filter((replica) => ended.has(replica.chunkHash) || isUnclaimed(replica));
  await deleteReplicas(tx, gone);
  await insertDeletions(
    tx,
    gone.map(({ chunkHash, nodeRowId }) => ({ chunkHash, nodeRowId, cause })),
    now,
  );
  if (chunks.length > 0) await endLives(tx, [...ended.keys()], now);
  await saveHealth(tx, chunks.filter((chunk) => chunk.hasQuorum).map(toEndedHealth), now);
  await changeHoldings(tx, holdingsWithout(gone, all), now);
  const refunds = chunks.filter((chunk) => chunk.hasQuorum);
  await changeUsage(
    tx,
    foldUsage(refunds.map((chunk) => ({ userId: chunk.ownerId, bytes: -chunk.sizeBytes, chunks: -1n }))),
  );
  return chunks.map((chunk) => chunkReleased(deps.clock, chunk));
}

function isUnclaimed(replica: Replica): boolean {
  return replica.state === "assigned" && !replica.isRepair;
}

function toEndedHealth(chunk: Chunk) {
  return { chunkHash: chunk.chunkHash, liveReplicas: 0, wantedReplicas: chunk.wantedReplicas, isStored: false };
}

/** The nodes' figures once these replicas are gone and their deletion is awaited. */
function holdingsWithout(gone: readonly Replica[], chunks: ReadonlyMap<string, Chunk>): HoldingChanges {
  const changes = collectHoldingChanges();
  for (const { chunkHash, nodeRowId, state } of gone) {
    const sizeBytes = chunks.get(chunkHash)?.sizeBytes ?? 0n;
    const change = changes.of(nodeRowId);
    change.pendingDeletions += 1n;
    if (state === "assigned") {
      change.assignedChunks -= 1n;
      change.assignedBytes -= sizeBytes;
    } else if (state === "confirmed") {
      change.confirmedChunks -= 1n;
      change.confirmedBytes -= sizeBytes;
      change.digest += negated(digestTermOf(chunkHash));
    }
  }
  return changes;
}
