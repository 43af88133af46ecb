import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { UploadCompletedSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { eventsOf } from "../testing/chunk-events.ts";
import { type ChunkFixture, createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";
import { contradictions } from "../testing/chunk-truth.ts";

const MIB = 1_048_576n;

function newUpload(count: number, replicas: number, userId: string = randomUUID()) {
  return { userId, uploadId: randomUUID(), chunks: newChunks(count), replicas };
}

async function confirm(f: ChunkFixture, placed: Awaited<ReturnType<ChunkFixture["chunks"]["placeChunks"]>>) {
  for (const { chunkHash, nodes } of placed.chunks) {
    for (const { nodeId } of nodes) await f.nodeById(nodeId).client.reportStoredChunks({ chunkHashes: [chunkHash] });
  }
}

test("only what is new needs room: a chunk that is stored already is not asked for again", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(2);
  const large = { ...newUpload(0, 2), chunks: newChunks(1, 2n * MIB) };
  await confirm(f, await f.chunks.placeChunks(large));
  for (const node of nodes) await f.changeNode(node, { freeBytes: MIB });
  f.rooms.placer.readingAssigned();
  f.rooms.placer.replaceAssigned(new Map());
  const small = newUpload(1, 2, large.userId);
  const placed = await f.chunks.placeChunks({ ...small, chunks: [...large.chunks, ...small.chunks] });
  expect(placed.chunks.map((chunk) => chunk.nodes.length)).toEqual([2, 2]);
});

test("more replicas than the network has nodes for are refused where the chunk could never reach its quorum", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const first = newUpload(1, 3);
  const placed = await f.chunks.placeChunks(first);
  const more = { ...first, uploadId: randomUUID(), replicas: 10 };
  await expect(f.chunks.placeChunks(more)).rejects.toThrow(/fewer nodes/);
  await confirm(f, placed);
  expect(await eventsOf(f.pool, UploadCompletedSchema)).toMatchObject([{ uploadId: first.uploadId }]);
  expect((await f.chunks.placeChunks(more)).chunks[0]?.nodes).toHaveLength(3);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("what an upload pays for is what its own reservation was made for, so that this one closes", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const first = newUpload(1, 2);
  const placed = await f.chunks.placeChunks(first);
  const second = newUpload(1, 2, first.userId);
  const taking = await f.chunks.placeChunks({ ...second, chunks: [...first.chunks, ...second.chunks] });
  const hashesOf = (upload: typeof first) => upload.chunks.map((chunk) => chunk.chunkHash);
  await f.chunks.releaseChunks({ ...first, chunkHashes: hashesOf(first) });
  await confirm(f, placed);
  await f.chunks.releaseChunks({ ...second, chunkHashes: hashesOf(second) });
  const [, completed] = await eventsOf(f.pool, UploadCompletedSchema);
  expect(completed).toMatchObject({ reservationId: taking.reservationId, chargedChunks: 0, chargedBytes: 0n });
  expect((await f.chunks.getUserUsage(first)).chargedChunks).toBe(1);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a repeated call names no nodes for chunks that the upload has released", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(3);
  const upload = newUpload(2, 3);
  await confirm(f, await f.chunks.placeChunks(upload));
  const [gone] = upload.chunks.map((chunk) => chunk.chunkHash);
  const chunkHashes = gone === undefined ? [] : [gone];
  await f.chunks.releaseChunks({ ...upload, chunkHashes });
  for (const { client } of nodes) await client.reportDeletedChunks({ chunkHashes });
  await f.chunks.placeChunks({ ...newUpload(0, 3), chunks: upload.chunks.slice(0, 1) });
  const again = await f.chunks.placeChunks(upload);
  expect(again.chunks.map((chunk) => chunk.nodes.length)).toEqual([0, 3]);
});

test("an unknown upload is told as unknown, of a user only where the call names one", async () => {
  await using f = await createChunkFixture();
  await f.addNode();
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(1), replicas: 1 };
  const placed = await f.chunks.placeChunks(upload);
  const chunkHashes = upload.chunks.map((chunk) => chunk.chunkHash);
  const failedNodeId = placed.chunks[0]?.nodes[0]?.nodeId ?? "";
  const replacements = chunkHashes.map((chunkHash) => ({ chunkHash, failedNodeId }));
  const unknown = { uploadId: randomUUID() };
  await expect(f.chunks.getUpload(unknown)).rejects.toThrow(/no upload has this upload_id$/);
  await expect(f.chunks.replaceNodes({ ...unknown, replacements })).rejects.toThrow(/no upload has this upload_id$/);
  const another = { ...upload, userId: randomUUID(), chunkHashes };
  await expect(f.chunks.releaseChunks(another)).rejects.toThrow(/no upload of this user has this upload_id$/);
});
