import type { Transaction } from "#platform/postgres/pool.ts";
import type { Deps } from "../deps.ts";
import type { Chunk } from "./chunks.store.ts";
import { dropReferences, endChunks } from "./end-of-life.worker.ts";
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
  const dropped = await dropReferences(tx, uploadId, locked);
  if (dropped.references.length === 0) return [];
  const settled = dropped.references.filter((chunk) => !chunk.hasQuorum).length;
  const completed = settled === 0 ? undefined : await dropFromUpload(tx, uploadId, settled, deps.clock.now());
  const events = await endChunks(deps, tx, { chunks: dropped.ended, trimmed: [], cause });
  if (completed !== undefined) events.push(uploadCompleted(deps.clock, completed));
  await deps.outbox.append(tx, events);
  return dropped.ended;
}
