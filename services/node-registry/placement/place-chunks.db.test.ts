import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { StoredChunkResult } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { PlacementRule } from "#gen/decentrastore/node_registry/v1/placement_pb.ts";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { insertDeletedUsers } from "../chunks/deleted-users.store.ts";
import { createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";
import { contradictions, deadlocks } from "../testing/chunk-truth.ts";

async function reasonOf(call: Promise<unknown>): Promise<string> {
  const failure = await call.then(
    () => undefined,
    (error: unknown) => ConnectError.from(error),
  );
  if (failure === undefined) return "succeeded";
  return `${Code[failure.code]} ${failure.findDetails(ErrorInfoSchema)[0]?.reason ?? failure.message}`;
}

function newUpload(count = 2, replicas = 3) {
  return { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(count), replicas };
}

test("an upload is placed on different nodes, reserved once, confirmed, charged and completed at quorum", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(5);
  const upload = newUpload(4);
  const placed = await f.chunks.placeChunks(upload);
  expect(f.quota.reservations).toMatchObject([
    { userId: upload.userId, sizeBytes: 4_000n, key: `${upload.uploadId}/1` },
  ]);
  expect(placed.reservationId).toBe(f.quota.reservations[0]?.reservationId);
  expect(placed.chunks.map((chunk) => chunk.chunkHash)).toEqual(upload.chunks.map((chunk) => chunk.chunkHash));
  for (const { chunkHash, nodes } of placed.chunks) {
    expect(new Set(nodes.map((node) => node.nodeId)).size).toBe(3);
    for (const node of nodes.slice(0, 2)) {
      expect((await f.chunks.getUpload(upload)).upload?.state).toBe(UploadState.OPEN);
      const { results } = await f.nodeById(node.nodeId).client.reportStoredChunks({ chunkHashes: [chunkHash] });
      expect(results).toEqual([StoredChunkResult.CONFIRMED]);
    }
  }
  const { upload: after } = await f.chunks.getUpload(upload);
  expect(after).toMatchObject({ state: UploadState.COMPLETED, chargedChunks: 4, chargedBytes: 4_000n });
  const located = await f.chunks.locateChunks({ chunkHashes: placed.chunks.map((chunk) => chunk.chunkHash) });
  expect(located.chunks.map((chunk) => chunk.nodes.length)).toEqual([2, 2, 2, 2]);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("calls of the same upload at the same time on two processes get the same assignments and one reservation", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(8);
  await using other = await f.anotherProcess();
  for (let round = 0; round < 5; round += 1) {
    const upload = newUpload(20);
    const calls = Array.from({ length: 10 }, (_, index) => (index % 2 ? f : other).chunks.placeChunks(upload));
    const answers = await Promise.all(calls);
    const shapes = answers.map((answer) => answer.chunks.map(({ nodes }) => nodes.map((node) => node.nodeId).sort()));
    for (const shape of shapes) expect(shape).toEqual(shapes[0]);
    expect(f.quota.reservations.filter(({ userId }) => userId === upload.userId)).toHaveLength(1);
    expect(f.quota.held(upload.userId)).toBe(20_000n);
  }
  expect(await contradictions(f.pool)).toEqual([]);
  expect(await deadlocks(f.pool)).toBe(0n);
});

test("of two contents under one upload_id one is placed and the other refused", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  const upload = newUpload();
  const other = { ...upload, chunks: newChunks(2) };
  const outcomes = await Promise.all([upload, other].map((content) => reasonOf(f.chunks.placeChunks(content))));
  expect(outcomes.sort()).toEqual(["AlreadyExists UPLOAD_MISMATCH", "succeeded"]);
  for (const changed of [
    { ...upload, userId: randomUUID() },
    { ...upload, replicas: 2 },
    { ...upload, chunks: upload.chunks.slice(1) },
    { ...upload, chunks: upload.chunks.map((chunk) => ({ ...chunk, blockIndex: chunk.blockIndex + 1 })) },
  ]) {
    expect(await reasonOf(f.chunks.placeChunks(changed))).toBe("AlreadyExists UPLOAD_MISMATCH");
  }
  expect(f.quota.held()).toBe(2_000n);
});

test("the same new hash placed by two users at once belongs to one of them, and the other gets its quota back", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(6);
  await using other = await f.anotherProcess();
  for (let round = 0; round < 10; round += 1) {
    const [first, second] = [newUpload(5), newUpload(5)];
    const shared = { ...second, chunks: [...second.chunks.slice(1), ...first.chunks.slice(3)] };
    const [a, b] = await Promise.all([
      reasonOf(f.chunks.placeChunks(first)),
      reasonOf(other.chunks.placeChunks(shared)),
    ]);
    expect([a, b].sort()).toEqual(["AlreadyExists CHUNK_OWNED_BY_ANOTHER_USER", "succeeded"]);
    const winner =
      a === "succeeded" ? { userId: first.userId, bytes: 5_000n } : { userId: shared.userId, bytes: 6_000n };
    expect(f.quota.held(first.userId) + f.quota.held(shared.userId)).toBe(winner.bytes);
    expect(f.quota.held(winner.userId)).toBe(winner.bytes);
  }
  expect(await contradictions(f.pool)).toEqual([]);
  expect(await deadlocks(f.pool)).toBe(0n);
});

test("the same new hash in several uploads of one user at once is reserved and assigned once", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(6);
  const userId = randomUUID();
  const common = newChunks(3);
  const uploads = Array.from({ length: 6 }, () => ({ ...newUpload(2), userId })).map((upload) => ({
    ...upload,
    chunks: [...upload.chunks, ...common],
  }));
  const answers = await Promise.all(uploads.map((upload) => f.chunks.placeChunks(upload)));
  expect(f.quota.held(userId)).toBe(BigInt(6 * 2 + 3) * 1_000n);
  const homes = answers.map((answer) => answer.chunks.slice(2).map(({ nodes }) => nodes.map((n) => n.nodeId).sort()));
  for (const home of homes) expect(home).toEqual(homes[0]);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("too few nodes refuse the upload and leave nothing behind", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(2);
  await f.addNode({ liveness: "suspect" });
  await f.addNode({ state: "draining" });
  await f.addNode({ freeBytes: 500n });
  await f.addNode({ liveness: "never_seen" });
  const upload = newUpload();
  expect(await reasonOf(f.chunks.placeChunks(upload))).toBe("FailedPrecondition NOT_ENOUGH_NODES");
  expect(f.quota.reservations).toEqual([]);
  expect(await reasonOf(f.chunks.getUpload(upload))).toBe("NotFound UPLOAD_NOT_FOUND");
  await f.addNode();
  const placed = await f.chunks.placeChunks({ ...upload, chunks: newChunks(1) });
  expect(placed.chunks[0]?.nodes).toHaveLength(3);
});

test("space that is assigned counts as taken, within one call too", async () => {
  await using f = await createChunkFixture();
  const nodes = [];
  for (let index = 0; index < 3; index += 1) nodes.push(await f.addNode({ freeBytes: 5_000n }));
  const upload = newUpload(5, 1);
  const placed = await f.chunks.placeChunks({ ...upload, chunks: newChunks(15) });
  const counts = nodes.map(({ nodeId }) => placed.chunks.filter((chunk) => chunk.nodes[0]?.nodeId === nodeId).length);
  expect(counts).toEqual([5, 5, 5]);
  expect(await reasonOf(f.chunks.placeChunks(newUpload(1, 1)))).toBe("FailedPrecondition NOT_ENOUGH_NODES");
});

test("a quota refusal passes on unchanged, and the same upload_id works once there is room", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  f.quota.limitBytes = 1_500n;
  const upload = newUpload();
  expect(await reasonOf(f.chunks.placeChunks(upload))).toBe("ResourceExhausted QUOTA_EXCEEDED");
  expect(await reasonOf(f.chunks.getUpload(upload))).toBe("NotFound UPLOAD_NOT_FOUND");
  f.quota.limitBytes = 2_000n;
  expect((await f.chunks.placeChunks(upload)).chunks).toHaveLength(2);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a small network relaxes subnets and regions, says so, and a larger one never does", async () => {
  await using f = await createChunkFixture();
  for (let index = 0; index < 3; index += 1) await f.addNode({ network: "10.0.0.0/24", region: "eu" });
  const small = await f.chunks.placeChunks(newUpload());
  expect(small.relaxedRules).toEqual([PlacementRule.DIFFERENT_SUBNETS, PlacementRule.DIFFERENT_REGIONS]);
  for (const [index, region] of ["us", "us", "asia"].entries()) {
    await f.addNode({ network: `10.1.${index}.0/24`, region });
  }
  const large = await f.chunks.placeChunks(newUpload(50));
  expect(large.relaxedRules).toEqual([]);
});

test("a user that was deleted gets nothing placed, whether or not user-quota knows yet", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = newUpload();
  await f.pool.transaction((tx) => insertDeletedUsers(tx, [upload.userId], f.clock.now()));
  expect(await reasonOf(f.chunks.placeChunks(upload))).toBe("FailedPrecondition ACCOUNT_CLOSED");
  expect(f.quota.held()).toBe(0n);
});

test("a chunk of another size or another proof root is refused, one without a root gets the new one", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = newUpload(1);
  const [chunk] = upload.chunks;
  if (chunk === undefined) throw new Error("no chunk");
  await f.chunks.placeChunks(upload);
  const place = (changes: object) =>
    reasonOf(f.chunks.placeChunks({ ...upload, uploadId: randomUUID(), chunks: [{ ...chunk, ...changes }] }));
  expect(await place({ sizeBytes: 999n })).toBe("AlreadyExists CHUNK_MISMATCH");
  expect(await place({ proofRoot: "a".repeat(64) })).toBe("succeeded");
  expect(await place({ proofRoot: "b".repeat(64) })).toBe("AlreadyExists CHUNK_MISMATCH");
  expect(await place({})).toBe("succeeded");
});

test("ids that are UUIDs of no known version work all the way", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = {
    ...newUpload(1, 1),
    userId: "ABCDEF01-0000-F000-0000-000000000001",
    uploadId: "00000000-0000-0000-0000-000000000002",
  };
  const { chunks } = await f.chunks.placeChunks(upload);
  await f
    .nodeById(chunks[0]?.nodes[0]?.nodeId ?? "")
    .client.reportStoredChunks({ chunkHashes: [chunks[0]?.chunkHash ?? ""] });
  expect((await f.chunks.getUpload(upload)).upload).toMatchObject({
    state: UploadState.COMPLETED,
    userId: upload.userId.toLowerCase(),
  });
  expect((await f.chunks.getUserUsage(upload)).chargedChunks).toBe(1);
});

test("bad requests name each field that breaks a rule", async () => {
  await using f = await createChunkFixture();
  const [chunk] = newChunks(1);
  if (chunk === undefined) throw new Error("no chunk");
  const bad = [
    { userId: "me", uploadId: "1", chunks: [] },
    { ...newUpload(), replicas: 11 },
    { ...newUpload(), chunks: [chunk, chunk] },
    { ...newUpload(), chunks: [{ ...chunk, sizeBytes: 0n }] },
    { ...newUpload(), chunks: [{ ...chunk, sizeBytes: 3_000_000n }] },
    { ...newUpload(), chunks: [{ ...chunk, chunkHash: chunk.chunkHash.toUpperCase() }] },
    { ...newUpload(), chunks: [{ ...chunk, blockIndex: -1 }] },
    { ...newUpload(), chunks: newChunks(1_001) },
  ];
  for (const request of bad)
    expect(await reasonOf(f.chunks.placeChunks(request))).toBe("InvalidArgument INVALID_FIELD");
});
