import type { Transaction } from "#platform/postgres/pool.ts";
import type { Deps } from "../deps.ts";
import type { Chunk } from "./chunks.store.ts";
import { dropReferences, endChunks } from "./end-of-life.worker.ts";
import type { DeletionCause } from "./report-outcomes.ts";
import { uploadCompleted } from "./upload-ended.event.ts";
import { advanceUploads } from "./uploads.store.ts";

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
  const settledChunks = dropped.references.filter((chunk) => !chunk.hasQuorum).length;
  const progress = settledChunks === 0 ? [] : [{ uploadId, settledChunks, chargedChunks: 0, chargedBytes: 0n }];
  const completed = await advanceUploads(tx, progress, deps.clock.now());
  const events = await endChunks(deps, tx, { chunks: dropped.ended, trimmed: [], cause });
  for (const upload of completed) events.push(uploadCompleted(deps.clock, upload));
  await deps.outbox.append(tx, events);
  return dropped.ended;
}
