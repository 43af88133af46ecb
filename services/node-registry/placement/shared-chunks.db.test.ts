import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import {
  ChunkStoredSchema,
  UploadCompletedSchema,
  UploadExpiredSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import { StoredChunkResult as Result } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { endDueUploads } from "../chunks/end-uploads.worker.ts";
import { eventsOf } from "../testing/chunk-events.ts";
import { createChunkFixture } from "../testing/chunk-fixture.ts";
import { contradictions } from "../testing/chunk-truth.ts";
import { placedUpload } from "../testing/placed-upload.ts";
import { unsettledReservations } from "../testing/reservation-truth.ts";

// A chunk in several uploads of a user is reserved by the first of them, whichever of them lets go of it when.

const DAY_MS = 24 * 3_600_000;

test("the reservation of an upload that ends before quorum waits for the charge where another upload still does", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  const first = await placedUpload(f, 1);
  f.clock.jump(DAY_MS / 2);
  const secondId = randomUUID();
  await f.chunks.placeChunks({ userId: first.userId, uploadId: secondId, chunks: first.chunks, replicas: 3 });
  await first.report(0, 0);
  f.clock.jump(DAY_MS / 2);
  await endDueUploads(f.deps);
  const { reservationId } = first.answer;
  expect((await f.chunks.getUpload(first)).upload).toMatchObject({ state: UploadState.EXPIRED, chargedChunks: 1 });
  expect(await eventsOf(f.pool, UploadExpiredSchema)).toMatchObject([{ reservationId, chargedBytes: 1_000n }]);
  expect(await first.report(0, 1)).toBe(Result.CONFIRMED);
  expect((await eventsOf(f.pool, ChunkStoredSchema)).filter((event) => event.reachedQuorum)).toMatchObject([
    { uploadId: first.uploadId, reservationId },
  ]);
  expect(await eventsOf(f.pool, UploadCompletedSchema)).toMatchObject([
    { uploadId: secondId, reservationId: "", chargedChunks: 0, chargedBytes: 0n },
  ]);
  expect((await f.chunks.getUserUsage(first)).chargedBytes).toBe(1_000n);
  expect(await contradictions(f.pool)).toEqual([]);
  expect(await unsettledReservations(f.pool)).toEqual([]);
});

test("releasing a chunk before its quorum frees nothing of the reservation while another upload waits for it", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  const first = await placedUpload(f, 2);
  const shared = first.chunks.slice(0, 1);
  const chunkHashes = shared.map((chunk) => chunk.chunkHash);
  const others = [randomUUID(), randomUUID()];
  for (const uploadId of others) await f.chunks.placeChunks({ ...first, uploadId, chunks: shared, replicas: 3 });
  await f.chunks.releaseChunks({ ...first, chunkHashes });
  await first.report(1, 0);
  await first.report(1, 1);
  const { reservationId } = first.answer;
  expect(await eventsOf(f.pool, UploadCompletedSchema)).toMatchObject([
    { uploadId: first.uploadId, reservationId, chargedChunks: 2, chargedBytes: 2_000n },
  ]);
  for (const uploadId of others) await f.chunks.releaseChunks({ ...first, uploadId, chunkHashes });
  expect((await f.chunks.getUpload(first)).upload).toMatchObject({ chargedChunks: 1, chargedBytes: 1_000n });
  const told = (await eventsOf(f.pool, UploadCompletedSchema)).filter((event) => event.reservationId !== "");
  expect(told.map((event) => [event.uploadId, event.chargedBytes])).toEqual([
    [first.uploadId, 2_000n],
    [first.uploadId, 1_000n],
  ]);
  expect(await contradictions(f.pool)).toEqual([]);
  expect(await unsettledReservations(f.pool)).toEqual([]);
});

test("an upload that is still open counts on a chunk it let go of only as long as another one waits for it", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  const first = await placedUpload(f, 2);
  const shared = first.chunks.slice(0, 1);
  const chunkHashes = shared.map((chunk) => chunk.chunkHash);
  const secondId = randomUUID();
  await f.chunks.placeChunks({ ...first, uploadId: secondId, chunks: shared, replicas: 3 });
  await f.chunks.releaseChunks({ ...first, chunkHashes });
  expect((await f.chunks.getUpload(first)).upload).toMatchObject({ state: UploadState.OPEN, chargedChunks: 1 });
  await f.chunks.releaseChunks({ ...first, uploadId: secondId, chunkHashes });
  expect((await f.chunks.getUpload(first)).upload).toMatchObject({ state: UploadState.OPEN, chargedChunks: 0 });
  f.clock.jump(DAY_MS);
  await endDueUploads(f.deps);
  expect(await eventsOf(f.pool, UploadExpiredSchema)).toMatchObject([{ uploadId: first.uploadId, chargedBytes: 0n }]);
  expect(await contradictions(f.pool)).toEqual([]);
  expect(await unsettledReservations(f.pool)).toEqual([]);
});
