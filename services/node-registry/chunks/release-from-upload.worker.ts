import type { Transaction } from "#platform/postgres/pool.ts";
import type { Deps } from "../deps.ts";
import type { Chunk } from "./chunks.store.ts";
import { dropReferences, endChunks, lockWithPayers } from "./end-of-life.worker.ts";
import type { DeletionCause } from "./report-outcomes.ts";
import { uploadCompleted } from "./upload-ended.event.ts";
import { dropFromUpload } from "./uploads.store.ts";

/**
 * Takes chunks, which are locked, away from an upload. An OPEN upload no longer waits for those below quorum, so that it
 * may be complete with this. Answers the chunks whose life has ended.
 */
export async function releaseFromUpload(
  deps: Pick<Deps, "clock" | "outbox">,
  tx: Transaction,
  uploadId: string,
  locked: readonly Chunk[],
  cause: DeletionCause,
): Promise<readonly Chunk[]> {
  await lockWithPayers(tx, uploadId, locked);
  const { references, ended, bequeathed } = await dropReferences(tx, uploadId, locked);
  if (references.length === 0) return [];
  const droppedChunks = references.filter((chunk) => !chunk.hasQuorum).length;
  const completed =
    droppedChunks === 0
      ? undefined
      : await dropFromUpload(tx, uploadId, { droppedChunks, bequeathed }, deps.clock.now());
  const events = await endChunks(deps, tx, { chunks: ended, trimmed: [], uploadId, cause });
  if (completed !== undefined) events.push(uploadCompleted(deps.clock, completed));
  await deps.outbox.append(tx, events);
  return ended;
}
