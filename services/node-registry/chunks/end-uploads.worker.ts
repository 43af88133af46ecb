import { transact } from "#platform/outbox/outbox.ts";
import type { Deps } from "../deps.ts";
import { type Chunk, lockChunks } from "./chunks.store.ts";
import { dropReferences, endChunks, lockWithPayers } from "./end-of-life.worker.ts";
import { sortedHashes } from "./hashes.ts";
import { oneByOne } from "./one-by-one.worker.ts";
import { bringUploadsBack } from "./overlong-uploads.store.ts";
import { readReferences, readUses } from "./references.store.ts";
import { uploadExpired } from "./upload-ended.event.ts";
import { expireUpload, forgetReplacedNodes, readDueUploads, settleUpload } from "./uploads.store.ts";

type EndDeps = Pick<Deps, "pool" | "outbox" | "clock">;
const BATCH = 50;
const LOOK_AGAIN_AFTER = Temporal.Duration.from({ hours: 24 });

/**
 * The end of an upload's time, in one transaction: chunks below quorum are taken from it and deleted where nobody else
 * waits for them, those at quorum stay charged, and nodes that have not confirmed are told to delete. Reports of the
 * same chunks queue on their rows: they come wholly before it and count, or after it and hear UPLOAD_EXPIRED.
 *
 * Answers whether the upload was OPEN. A completed one is not over by time: a replica that its chunk still lacks may be
 * reported later too, and counts. Only assignments that are not needed any more end, now or a day later.
 */
export async function endUpload(deps: EndDeps, uploadId: string): Promise<boolean> {
  return transact(deps, async (tx) => {
    const now = deps.clock.now();
    const references = await readReferences(tx, uploadId);
    const locked = await lockChunks(tx, sortedHashes(references.map((reference) => reference.chunkHash)));
    const upload = await lockWithPayers(tx, uploadId, locked);
    if (upload?.state !== "open" && upload?.state !== "completed") return false;
    const isOpen = upload.state === "open";
    const waiting = isOpen ? locked.filter((chunk) => !chunk.hasQuorum) : [];
    const { ended, bequeathed } = await dropReferences(tx, uploadId, waiting);
    const expired = isOpen ? await expireUpload(tx, uploadId, bequeathed, now) : undefined;
    const kept = await withoutOpenUpload(
      tx,
      uploadId,
      locked.filter((chunk) => chunk.hasQuorum && !chunk.isReleased),
    );
    const whole = kept.filter((chunk) => chunk.confirmedReplicas >= chunk.wantedReplicas);
    if (!isOpen) await settleUpload(tx, uploadId, whole.length < kept.length ? now.add(LOOK_AGAIN_AFTER) : undefined);
    const events = await endChunks(
      deps,
      tx,
      isOpen
        ? { chunks: ended, trimmed: kept, uploadId, cause: "upload_expired" }
        : { chunks: [], trimmed: whole, uploadId, cause: "not_placed" },
    );
    if (expired !== undefined) events.push(uploadExpired(deps.clock, expired));
    await deps.outbox.append(tx, events);
    await forgetReplacedNodes(tx, uploadId);
    return isOpen;
  });
}

/** Chunks that no other OPEN upload may still be sending. */
async function withoutOpenUpload(
  tx: Parameters<typeof readUses>[0],
  uploadId: string,
  chunks: readonly Chunk[],
): Promise<Chunk[]> {
  if (chunks.length === 0) return [];
  const uses = await readUses(
    tx,
    chunks.map((chunk) => chunk.chunkHash),
  );
  const awaited = new Set(uses.filter((use) => use.isOpen && use.uploadId !== uploadId).map((use) => use.chunkHash));
  return chunks.filter((chunk) => !awaited.has(chunk.chunkHash));
}

/** One round over uploads whose 24 hours are over; answers whether there may be more at once. */
export async function endDueUploads(deps: EndDeps & Pick<Deps, "log">, signal?: AbortSignal): Promise<boolean> {
  await bringUploadsBack(deps.pool, deps.clock.now());
  const due = await readDueUploads(deps.pool, ["open", "completed"], deps.clock.now(), BATCH);
  const ended = await oneByOne(
    deps,
    due,
    async (uploadId) => {
      const wasOpen = await endUpload(deps, uploadId);
      if (wasOpen) deps.log.info({ uploadId }, "an upload has expired");
    },
    { signal },
  );
  return due.length === BATCH && ended > 0;
}
