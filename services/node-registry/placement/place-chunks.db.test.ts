import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { StoredChunkResult } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";

test("an upload is placed on different nodes, reserved once, confirmed, charged and completed at quorum", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(5);
  const [userId, uploadId] = [randomUUID(), randomUUID()];
  const chunks = newChunks(4);
  const placed = await f.chunks.placeChunks({ userId, uploadId, chunks, replicas: 3 });
  expect(f.quota.reservations).toMatchObject([{ userId, sizeBytes: 4_000n, key: `${uploadId}/1` }]);
  expect(placed.reservationId).toBe(f.quota.reservations[0]?.reservationId);
  for (const [index, chunk] of placed.chunks.entries()) {
    expect(chunk.chunkHash).toBe(chunks[index]?.chunkHash);
    expect(new Set(chunk.nodes.map((node) => node.nodeId)).size).toBe(3);
  }
  for (const chunk of placed.chunks) {
    for (const [index, node] of chunk.nodes.slice(0, 2).entries()) {
      const { upload } = await f.chunks.getUpload({ uploadId });
      expect(upload?.state).toBe(UploadState.OPEN);
      const { results } = await f.nodeById(node.nodeId).client.reportStoredChunks({ chunkHashes: [chunk.chunkHash] });
      expect(results, `replica ${index}`).toEqual([StoredChunkResult.CONFIRMED]);
    }
  }
  const { upload } = await f.chunks.getUpload({ uploadId });
  expect(upload).toMatchObject({ state: UploadState.COMPLETED, chargedChunks: 4, chargedBytes: 4_000n });
  expect(upload?.quorumChunkCount).toBe(4n);
  const again = await f.chunks.placeChunks({ userId, uploadId, chunks, replicas: 3 });
  const nodesOf = (answer: typeof placed) =>
    answer.chunks.map((chunk) => chunk.nodes.map((node) => node.nodeId).sort());
  expect(nodesOf(again)).toEqual(nodesOf(placed));
});
