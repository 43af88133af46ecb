import { transact } from "#platform/outbox/outbox.ts";
import { lockChunks } from "../chunks/chunks.store.ts";
import { markPurged, readUsersToPurge } from "../chunks/deleted-users.store.ts";
import { endUpload } from "../chunks/end-uploads.worker.ts";
import { sortedHashes } from "../chunks/hashes.ts";
import { oneByOne } from "../chunks/one-by-one.worker.ts";
import { readReferences } from "../chunks/references.store.ts";
import { releaseFromUpload } from "../chunks/release-from-upload.worker.ts";
import { readUploadsOfUser } from "../chunks/uploads.store.ts";
import type { Deps } from "../deps.ts";

type PurgeDeps = Pick<Deps, "pool" | "outbox" | "clock" | "log">;
const FIRST_ID = "00000000-0000-0000-0000-000000000000";
const PAGE = 100;
const USERS = 20;

/**
 * Ends the uploads of deleted users and releases their chunks, an upload per transaction; refunds follow by the usual
 * events. A user is looked at again as long as a placement is under way: it may have looked before the deletion was
 * committed. One that begins later sees the deletion.
 */
export async function purgeDeletedUsers(deps: PurgeDeps, signal?: AbortSignal): Promise<boolean> {
  await oneByOne(
    deps,
    await readUsersToPurge(deps.pool, USERS),
    async (userId) => {
      const isOver = await purgeUser(deps, userId, signal);
      if (isOver) await markPurged(deps.pool, userId, deps.clock.now());
    },
    { signal },
  );
  // Those that have to wait for a placement must not keep the loop busy.
  return false;
}

/** Answers whether nothing was being placed. */
async function purgeUser(deps: PurgeDeps, userId: string, signal: AbortSignal | undefined): Promise<boolean> {
  let isOver = true;
  for (let after = FIRST_ID; ; ) {
    const uploads = await readUploadsOfUser(deps.pool, userId, after, PAGE);
    for (const { uploadId, state } of uploads) {
      if (signal?.aborted) return false;
      if (state === "open") await endUpload(deps, uploadId);
      // Attempts that never placed anything are ended by the sweeper.
      if (state === "reserving") isOver = false;
      else if (state !== "failed") await releaseUpload(deps, uploadId);
    }
    const last = uploads.at(-1);
    if (last === undefined || uploads.length < PAGE) return isOver;
    after = last.uploadId;
  }
}

async function releaseUpload(deps: PurgeDeps, uploadId: string): Promise<void> {
  await transact(deps, async (tx) => {
    const references = await readReferences(tx, uploadId);
    if (references.length === 0) return;
    const locked = await lockChunks(tx, sortedHashes(references.map((reference) => reference.chunkHash)));
    await releaseFromUpload(deps, tx, uploadId, locked, "released");
  });
}
