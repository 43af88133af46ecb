import type { OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import type { Deps } from "../deps.ts";
import { digestTermOf, negated } from "./chunk-digest.ts";
import { chunkReleased } from "./chunk-released.event.ts";
import { type Chunk, endLives } from "./chunks.store.ts";
import { insertDeletions } from "./deletions.store.ts";
import { changeHoldings, collectHoldingChanges, type HoldingChanges } from "./holdings.store.ts";
import { deleteReferences, readUses } from "./references.store.ts";
import { deleteReplicas, type Replica, readReplicas } from "./replicas.store.ts";
import type { DeletionCause } from "./report-outcomes.ts";
import { saveHealth } from "./under-replicated.store.ts";
import { uploadEnded } from "./upload-ended.event.ts";
import { type ChargesChange, changeCharges, lockUploads, type UploadRow } from "./uploads.store.ts";
import { changeUsage, foldUsage } from "./user-usage.store.ts";

type EndDeps = Pick<Deps, "clock" | "outbox">;

/**
 * Locks an upload that chunks are to be taken from, and those that pay for them; the chunks must be locked. All in one
 * statement, as everybody locks uploads in the order of their ids. Answers the upload.
 */
export async function lockWithPayers(
  tx: Transaction,
  uploadId: string,
  locked: readonly Chunk[],
): Promise<UploadRow | undefined> {
  const payers = locked.filter((chunk) => !chunk.hasQuorum).map((chunk) => chunk.payingUploadId);
  const uploads = await lockUploads(tx, [...new Set([uploadId, ...payers])]);
  return uploads.find((upload) => upload.upload_id === uploadId);
}

/** What has been taken from an upload, and what of it ended with that. */
export interface Dropped {
  /** Chunks whose reference was there. */
  readonly references: readonly Chunk[];
  /** Those of them that nobody uses any more. */
  readonly ended: readonly Chunk[];
  /** What the upload reserved for, and another one still waits for: the charge will be posted to its reservation. */
  readonly bequeathed: ChargesChange;
}

/**
 * Drops an upload's references to chunks that are locked, as the upload and those that pay must be. A chunk that another
 * upload still uses lives on. Where it has no quorum yet, its bytes stay reserved by the upload that reserved for it,
 * whatever becomes of that: they would be free for something else otherwise, and be charged nevertheless. Ends nothing
 * yet: `endChunks` does.
 */
export async function dropReferences(tx: Transaction, uploadId: string, locked: readonly Chunk[]): Promise<Dropped> {
  if (locked.length === 0) return { references: [], ended: [], bequeathed: sumOf([]) };
  const hashes = await deleteReferences(
    tx,
    uploadId,
    locked.map((chunk) => chunk.chunkHash),
  );
  const dropped = new Set(hashes);
  const references = locked.filter((chunk) => dropped.has(chunk.chunkHash));
  const used = new Set((await readUses(tx, hashes)).map((use) => use.chunkHash));
  const awaited = references.filter((chunk) => used.has(chunk.chunkHash) && !chunk.hasQuorum);
  return {
    references,
    ended: references.filter((chunk) => !used.has(chunk.chunkHash)),
    bequeathed: sumOf(awaited.filter((chunk) => isReservedBy(chunk, uploadId))),
  };
}

function isReservedBy(chunk: Chunk, uploadId: string): boolean {
  return chunk.reservationId !== null && chunk.payingUploadId === uploadId;
}

function sumOf(chunks: readonly Chunk[]): ChargesChange {
  return { chunks: chunks.length, bytes: chunks.reduce((sum, chunk) => sum + chunk.sizeBytes, 0n) };
}

export interface Endings {
  /** Chunks that nobody uses any more: locked, still living. */
  readonly chunks: readonly Chunk[];
  /** Living chunks whose unconfirmed assignments nobody waits for any more. */
  readonly trimmed: readonly Chunk[];
  /** The upload that they were taken from last. */
  readonly uploadId: string;
  readonly cause: DeletionCause;
}

/**
 * Ends the lives of chunks: nodes are to delete them until each confirms, charges are refunded, and chunk.released tells
 * of it. Answers the events, for the caller to append with its own at the end of the transaction.
 */
export async function endChunks(
  deps: EndDeps,
  tx: Transaction,
  { chunks, trimmed, uploadId, cause }: Endings,
): Promise<OutboxEvent[]> {
  if (chunks.length + trimmed.length === 0) return [];
  const now = deps.clock.now();
  const corrected = await takeBack(tx, uploadId, chunks);
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
  return [
    ...chunks.map((chunk) => chunkReleased(deps.clock, chunk)),
    ...corrected.map((upload) => uploadEnded(deps.clock, upload)),
  ];
}

/**
 * Chunks that ended before their quorum although an upload that let go of them had counted on their charge: its numbers
 * are put right. Answers those uploads that have told their numbers already and have to tell them again, since their
 * reservations wait for charges that never come.
 */
async function takeBack(tx: Transaction, uploadId: string, ended: readonly Chunk[]): Promise<UploadRow[]> {
  const abandoned = ended.filter(
    (chunk) => !chunk.hasQuorum && chunk.reservationId !== null && chunk.payingUploadId !== uploadId,
  );
  const changes = [...Map.groupBy(abandoned, (chunk) => chunk.payingUploadId)].map(([payer, chunks]) => {
    const { chunks: count, bytes } = sumOf(chunks);
    return { uploadId: payer, chunks: -count, bytes: -bytes };
  });
  const payers = await changeCharges(tx, changes);
  return payers.filter((payer) => payer.state !== "open");
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
