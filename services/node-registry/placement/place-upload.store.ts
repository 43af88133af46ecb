import type { Transaction } from "#platform/postgres/pool.ts";
import {
  type Chunk,
  insertChunks,
  lockChunks,
  type NewLife,
  raiseTerms,
  readChunks,
  reviveChunks,
} from "../chunks/chunks.store.ts";
import { readPendingDeletions } from "../chunks/deletions.store.ts";
import { sortedHashes } from "../chunks/hashes.ts";
import { addAssignments, collectHoldingChanges } from "../chunks/holdings.store.ts";
import { quorumOf } from "../chunks/quorum.ts";
import { insertReferences } from "../chunks/references.store.ts";
import { insertReplicas, type Replica, readReplicas } from "../chunks/replicas.store.ts";
import { saveHealth } from "../chunks/under-replicated.store.ts";
import { findUpload, lockUploads, type UploadRow } from "../chunks/uploads.store.ts";
import { insertAttempt, isUserDeleted, openUpload, restartAttempt } from "./attempts.store.ts";
import type { SoftRule } from "./draw.ts";
import type { Placement, PlaceRequest } from "./placer.ts";
import {
  type AskedChunk,
  type ContentRefusal,
  type ContentSplit,
  splitContent,
  type UploadContent,
} from "./upload-content.ts";

/** What stands in the way of an upload, as values: an error inside a transaction would cost its connection. */
export type PlaceRefusal =
  | ContentRefusal
  | { readonly reason: "not_enough_nodes" }
  | { readonly reason: "user_deleted" };

export type Begun =
  | { readonly step: "placed"; readonly upload: UploadRow }
  | { readonly step: "mismatch" }
  | { readonly step: "expired" }
  /** The row changed between two looks at it. */
  | { readonly step: "again" }
  | { readonly step: "refused"; readonly refusal: PlaceRefusal }
  | { readonly step: "reserving"; readonly attempt: number; readonly newBytes: bigint };

/**
 * Transaction 1: takes the upload_id, or joins the attempt that another call has under way with the same content. Every
 * step of an attempt can be done by any number of callers: they use one reservation key and one upload row.
 */
export async function beginAttempt(
  tx: Transaction,
  content: UploadContent,
  terms: { readonly now: Temporal.Instant; readonly hasEnoughNodes: (largestBytes: number) => boolean },
): Promise<Begun> {
  const [upload] = await lockUploads(tx, [content.uploadId]);
  if (upload !== undefined && upload.state !== "failed") return joined(upload, content);
  const existing = await readChunks(
    tx,
    content.chunks.map((chunk) => chunk.chunkHash),
  );
  const split = splitContent(content, new Map(existing.map((chunk) => [chunk.chunkHash, chunk])));
  if ("reason" in split) return { step: "refused", refusal: split };
  const largestBytes = Math.max(0, ...[...split.unknown, ...split.dead].map((chunk) => Number(chunk.sizeBytes)));
  if (largestBytes > 0 && !terms.hasEnoughNodes(largestBytes)) {
    return { step: "refused", refusal: { reason: "not_enough_nodes" } };
  }
  if (upload !== undefined) {
    await restartAttempt(tx, content, split.newBytes, terms.now);
    return { step: "reserving", attempt: upload.attempt, newBytes: split.newBytes };
  }
  if (await insertAttempt(tx, content, split.newBytes, terms.now)) {
    return { step: "reserving", attempt: 1, newBytes: split.newBytes };
  }
  // Another call inserted the row since we looked; its transaction is over, or the insert would still wait for it.
  const winner = await findUpload(tx, content.uploadId);
  return winner === undefined || winner.state === "failed" ? { step: "again" } : joined(winner, content);
}

function joined(upload: UploadRow, content: UploadContent): Begun {
  if (upload.fingerprint !== content.fingerprint || upload.user_id !== content.userId) return { step: "mismatch" };
  if (upload.state === "expired") return { step: "expired" };
  if (upload.state !== "reserving") return { step: "placed", upload };
  return { step: "reserving", attempt: upload.attempt, newBytes: upload.reserved_bytes };
}

export interface PlaceTerms {
  readonly attempt: number;
  readonly newBytes: bigint;
  readonly reservationId: string | null;
  readonly now: Temporal.Instant;
  readonly expiresAt: Temporal.Instant;
  readonly firstProofWithinMs: number;
  readonly place: (requests: readonly PlaceRequest[]) => Placement | undefined;
}

export interface Assignment {
  readonly chunkHash: string;
  readonly nodeRowId: bigint;
  readonly blockIndex: number;
  readonly sizeBytes: bigint;
}

export type PlaceOutcome =
  | {
      readonly step: "placed";
      readonly upload: UploadRow;
      readonly made: readonly Assignment[];
      readonly relaxed: ReadonlySet<SoftRule>;
    }
  /** The attempt is over; the upload, as it is now, uses the given reservation or not. */
  | { readonly step: "stale"; readonly isReservationUsed: boolean }
  /** What is new has changed since it was reserved for. */
  | { readonly step: "changed" }
  | { readonly step: "refused"; readonly refusal: PlaceRefusal };

/** Another transaction placed one of our new hashes first; thrown, because rows of ours are written by then. */
export class LostRaceError extends Error {
  override readonly name = "LostRaceError";
}

/** Transaction 2: the assignments and everything that goes with them. Refusals leave nothing written. */
export async function placeUpload(tx: Transaction, content: UploadContent, terms: PlaceTerms): Promise<PlaceOutcome> {
  const [upload] = await lockUploads(tx, [content.uploadId]);
  if (upload?.state !== "reserving" || upload.attempt !== terms.attempt) {
    const isReservationUsed = terms.reservationId !== null && upload?.reservation_id === terms.reservationId;
    return { step: "stale", isReservationUsed };
  }

  const hashes = sortedHashes(content.chunks.map((chunk) => chunk.chunkHash));
  const existing = new Map((await lockChunks(tx, hashes)).map((chunk) => [chunk.chunkHash, chunk]));
  const split = splitContent(content, existing);
  if ("reason" in split) return { step: "refused", refusal: split };
  if (split.newBytes !== terms.newBytes) return { step: "changed" };
  if (await isUserDeleted(tx, content.userId)) return { step: "refused", refusal: { reason: "user_deleted" } };

  const requests = await requestsOf(tx, content, split);
  const placement = terms.place(requests);
  if (placement === undefined) return { step: "refused", refusal: { reason: "not_enough_nodes" } };
  await writeLives(tx, content, split, terms);
  const made = assignmentsOf(content, placement);
  await insertReplicas(tx, made, terms.now, terms);
  await insertReferences(tx, content.uploadId, content.chunks);
  const remainingChunks =
    split.unknown.length + split.dead.length + split.living.filter(({ chunk }) => !chunk.hasQuorum).length;
  await openUpload(tx, { ...terms, uploadId: content.uploadId, remainingChunks, relaxed: placement.relaxed });
  await addAssignments(tx, holdingsOf(made));
  const opened = await findUpload(tx, content.uploadId);
  if (opened === undefined) throw new Error("an upload vanished under its lock");
  return { step: "placed", upload: opened, made, relaxed: placement.relaxed };
}

/** How many nodes each chunk needs and which it may not get. A living chunk gets only what it lacks. */
async function requestsOf(
  tx: Transaction,
  content: UploadContent,
  split: ContentSplit<Chunk>,
): Promise<PlaceRequest[]> {
  const known = [...split.dead.map((chunk) => chunk.chunkHash), ...split.living.map(({ asked }) => asked.chunkHash)];
  const replicas = known.length === 0 ? [] : await readReplicas(tx, known);
  const deletions = known.length === 0 ? [] : await readPendingDeletions(tx, known);
  const held = Map.groupBy(replicas, (replica) => replica.chunkHash);
  const barred = Map.groupBy(deletions, (deletion) => deletion.chunkHash);
  const living = new Map(split.living.map(({ chunk }) => [chunk.chunkHash, chunk]));
  return content.chunks.map(({ chunkHash, sizeBytes }) => {
    const chunk = living.get(chunkHash);
    const holders: readonly Replica[] = held.get(chunkHash) ?? [];
    const counting = holders.filter((replica) => replica.state !== "lost").length;
    const wanted = Math.max(content.replicas, chunk?.wantedReplicas ?? 0);
    return {
      chunkHash,
      sizeBytes,
      count: Math.max(0, wanted - counting),
      holders: holders.map((replica) => replica.nodeRowId),
      barred: (barred.get(chunkHash) ?? []).map((deletion) => deletion.nodeRowId),
      // What is missing then is a matter of repair; below that the uploads that wait for the chunk could never complete.
      isOptional: chunk?.hasQuorum === true || counting >= quorumOf(wanted),
    };
  });
}

async function writeLives(
  tx: Transaction,
  content: UploadContent,
  split: ContentSplit<Chunk>,
  terms: PlaceTerms,
): Promise<void> {
  const lifeTerms = {
    ownerId: content.userId,
    replicas: content.replicas,
    uploadId: content.uploadId,
    reservationId: terms.reservationId,
    now: terms.now,
  };
  const inserted = split.unknown.length === 0 ? 0 : await insertChunks(tx, sortedLives(split.unknown), lifeTerms);
  if (inserted < split.unknown.length) throw new LostRaceError("a chunk was placed by another call meanwhile");
  await reviveChunks(tx, sortedLives(split.dead), lifeTerms);
  const raised = split.living.filter(
    ({ asked, chunk }) =>
      chunk.wantedReplicas < content.replicas || (chunk.proofRoot === null && asked.proofRoot !== null),
  );
  await raiseTerms(
    tx,
    raised.map(({ asked, chunk }) => ({
      chunkHash: chunk.chunkHash,
      wantedReplicas: content.replicas,
      proofRoot: asked.proofRoot,
    })),
  );
  await saveHealth(
    tx,
    raised.map(({ chunk }) => ({
      chunkHash: chunk.chunkHash,
      liveReplicas: chunk.liveReplicas,
      wantedReplicas: Math.max(chunk.wantedReplicas, content.replicas),
      isStored: chunk.hasQuorum,
    })),
    terms.now,
  );
}

function sortedLives(chunks: readonly AskedChunk[]): NewLife[] {
  return [...chunks].sort((a, b) => (a.chunkHash < b.chunkHash ? -1 : 1));
}

function assignmentsOf(content: UploadContent, placement: Placement): Assignment[] {
  return content.chunks.flatMap(({ chunkHash, blockIndex, sizeBytes }) =>
    (placement.nodes.get(chunkHash) ?? []).map((nodeRowId) => ({ chunkHash, nodeRowId, blockIndex, sizeBytes })),
  );
}

function holdingsOf(made: readonly Assignment[]) {
  const changes = collectHoldingChanges();
  for (const { nodeRowId, sizeBytes } of made) {
    const change = changes.of(nodeRowId);
    change.assignedChunks += 1n;
    change.assignedBytes += sizeBytes;
  }
  return changes;
}
