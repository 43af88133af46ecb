import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import {
  ChunkReleasedSchema,
  ChunkStoredSchema,
  UploadCompletedSchema,
  UploadExpiredSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import { StoredChunkResult as Result } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { lockChunks } from "../chunks/chunks.store.ts";
import { endDueUploads } from "../chunks/end-uploads.worker.ts";
import { addAssignments, collectHoldingChanges } from "../chunks/holdings.store.ts";
import { insertReplicas } from "../chunks/replicas.store.ts";
import { eventsOf } from "../testing/chunk-events.ts";
import { type ChunkFixture, createChunkFixture } from "../testing/chunk-fixture.ts";
import { contradictions } from "../testing/chunk-truth.ts";
import { placedUpload } from "../testing/placed-upload.ts";

const DAY_MS = 24 * 3_600_000;

test("an upload that is not completed in 24 hours loses what is below quorum and keeps what is charged", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  const upload = await placedUpload(f, 2);
  await upload.report(0, 0);
  await upload.report(0, 1);
  await upload.report(1, 0);
  f.clock.jump(DAY_MS - 1);
  await endDueUploads(f.deps);
  expect((await f.chunks.getUpload(upload)).upload?.state).toBe(UploadState.OPEN);
  f.clock.jump(1);
  await endDueUploads(f.deps);
  const { upload: after } = await f.chunks.getUpload(upload);
  expect(after).toMatchObject({ state: UploadState.EXPIRED, chargedChunks: 1, chargedBytes: 1_000n });
  expect(after?.chunks.map((chunk) => chunk.chunkHash)).toEqual([upload.chunks[0]?.chunkHash]);
  expect(await eventsOf(f.pool, UploadExpiredSchema)).toMatchObject([
    { uploadId: upload.uploadId, reservationId: upload.answer.reservationId, chargedChunks: 1, chargedBytes: 1_000n },
  ]);
  expect(await eventsOf(f.pool, ChunkReleasedSchema)).toMatchObject([
    { chunkHash: upload.chunks[1]?.chunkHash, charged: false, generation: 1 },
  ]);
  expect([await upload.report(1, 1), await upload.report(1, 0), await upload.report(0, 2)]).toEqual(
    Array(3).fill(Result.UPLOAD_EXPIRED),
  );
  expect(await upload.report(0, 0)).toBe(Result.ALREADY_CONFIRMED);
  await expect(f.chunks.placeChunks({ ...upload, chunks: upload.chunks, replicas: 3 })).rejects.toThrow(/expired/);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("releasing refunds what was charged once, and a hash can live again only where its deletion is confirmed", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = await placedUpload(f, 1);
  await upload.report(0, 0);
  await upload.report(0, 1);
  const chunkHashes = upload.chunks.map((chunk) => chunk.chunkHash);
  const first = await f.chunks.releaseChunks({ ...upload, chunkHashes });
  const again = await f.chunks.releaseChunks({ ...upload, chunkHashes });
  expect([first.releasedChunkHashes, again.releasedChunkHashes]).toEqual([chunkHashes, []]);
  expect(await eventsOf(f.pool, ChunkReleasedSchema)).toMatchObject([
    { charged: true, generation: 1, sizeBytes: 1_000n },
  ]);
  expect(await upload.report(0, 2)).toBe(Result.RELEASED);
  const next = { userId: randomUUID(), uploadId: randomUUID(), chunks: upload.chunks, replicas: 1 };
  await expect(f.chunks.placeChunks(next)).rejects.toThrow(/fewer nodes/);
  expect(f.quota.held(next.userId)).toBe(0n);
  const [node] = upload.nodesOf(0);
  await node?.client.reportDeletedChunks({ chunkHashes });
  const second = await f.chunks.placeChunks(next);
  expect(second.chunks[0]?.nodes.map((n) => n.nodeId)).toEqual([node?.nodeId]);
  expect((await node?.client.reportStoredChunks({ chunkHashes }))?.results).toEqual([Result.CONFIRMED]);
  const stored = await eventsOf(f.pool, ChunkStoredSchema);
  expect(stored.map((event) => [event.generation, event.reachedQuorum, event.userId === next.userId])).toEqual([
    [1, false, false],
    [1, true, false],
    [2, true, true],
  ]);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a chunk in two uploads of one user is reserved, stored and charged once; the last reference releases it", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  const first = await placedUpload(f, 2);
  const secondId = randomUUID();
  const shared = first.chunks.slice(0, 1);
  const second = await f.chunks.placeChunks({ userId: first.userId, uploadId: secondId, chunks: shared, replicas: 3 });
  expect(second.reservationId).toBe("");
  expect(f.quota.reservations).toHaveLength(1);
  await first.report(0, 0);
  await first.report(0, 1);
  expect((await f.chunks.getUpload({ uploadId: secondId })).upload).toMatchObject({
    state: UploadState.COMPLETED,
    chargedChunks: 0,
  });
  const chunkHashes = shared.map((chunk) => chunk.chunkHash);
  const dropped = await f.chunks.releaseChunks({ ...first, chunkHashes });
  expect(dropped.releasedChunkHashes).toEqual([]);
  const last = await f.chunks.releaseChunks({ userId: first.userId, uploadId: secondId, chunkHashes });
  expect(last.releasedChunkHashes).toEqual(chunkHashes);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("releasing the last chunk that an upload waits for completes it", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  const upload = await placedUpload(f, 2);
  await upload.report(0, 0);
  await upload.report(0, 1);
  await f.chunks.releaseChunks({ ...upload, chunkHashes: upload.chunks.slice(1).map((chunk) => chunk.chunkHash) });
  expect(await eventsOf(f.pool, UploadCompletedSchema)).toMatchObject([{ chargedChunks: 1, chargedBytes: 1_000n }]);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a replica that a completed upload still lacks counts whenever it is reported", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  const upload = await placedUpload(f, 1);
  await upload.report(0, 0);
  await upload.report(0, 1);
  const listed = await f.chunks.listUnderReplicatedChunks({});
  expect(listed.chunks).toMatchObject([{ confirmedReplicas: 2, liveReplicas: 2, wantedReplicas: 3 }]);
  f.clock.jump(DAY_MS);
  await endDueUploads(f.deps);
  expect((await f.chunks.getUpload(upload)).upload?.state).toBe(UploadState.COMPLETED);
  expect((await f.chunks.listUnderReplicatedChunks({})).chunks).toHaveLength(1);
  expect(await upload.report(0, 2)).toBe(Result.CONFIRMED);
  expect((await f.chunks.listUnderReplicatedChunks({})).chunks).toEqual([]);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("what a completed upload does not need any more ends with its 24 hours, and nobody hears of an expiry", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = await placedUpload(f, 1);
  await upload.report(0, 0);
  await upload.report(0, 1);
  await repairOntoNewNode(f, upload.chunks[0]?.chunkHash ?? "");
  f.clock.jump(DAY_MS);
  await endDueUploads(f.deps);
  expect((await f.chunks.getUpload(upload)).upload?.state).toBe(UploadState.COMPLETED);
  expect(await upload.report(0, 2)).toBe(Result.NOT_PLACED);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("an upload that cannot be ended holds up no other one", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(1);
  if (node === undefined) throw new Error("no node");
  const stuck = await placedUpload(f, 1, 1);
  await f.changeNode(node, { state: "draining" });
  await f.addNodes(1);
  const other = await placedUpload(f, 1, 1);
  // What only a hand in the database can do.
  await f.pool.query(
    sql.unsafe`update node_registry.node_holdings set assigned_bytes = 0 where node_id = ${node.rowId}`,
  );
  f.clock.jump(DAY_MS);
  expect(await endDueUploads(f.deps)).toBe(false);
  const states = await Promise.all(
    [stuck, other].map(async (upload) => (await f.chunks.getUpload(upload)).upload?.state),
  );
  expect(states).toEqual([UploadState.OPEN, UploadState.EXPIRED]);
});

async function repairOntoNewNode(f: ChunkFixture, chunkHash: string) {
  const [free] = await f.addNodes(1);
  if (free === undefined) throw new Error("no node");
  await f.pool.transaction(async (tx) => {
    await lockChunks(tx, [chunkHash]);
    const terms = { isRepair: true, firstProofWithinMs: 1_000 };
    await insertReplicas(tx, [{ chunkHash, nodeRowId: free.rowId, blockIndex: 0 }], f.clock.now(), terms);
    const changes = collectHoldingChanges();
    Object.assign(changes.of(free.rowId), { assignedChunks: 1n, assignedBytes: 1_000n });
    await addAssignments(tx, changes);
  });
  expect((await free.client.reportStoredChunks({ chunkHashes: [chunkHash] })).results).toEqual([Result.CONFIRMED]);
}
