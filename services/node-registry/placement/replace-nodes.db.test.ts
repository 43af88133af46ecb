import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { StoredChunkResult as Result } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { lockUploads } from "../chunks/uploads.store.ts";
import { type ChunkFixture, createChunkFixture, newChunks, newHash } from "../testing/chunk-fixture.ts";
import { contradictions } from "../testing/chunk-truth.ts";
import { insertAttempt } from "./attempts.store.ts";
import { exchangeForGoneNodes } from "./exchange.worker.ts";

async function place(f: ChunkFixture, count = 1, replicas = 2) {
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(count), replicas };
  const { chunks } = await f.chunks.placeChunks(upload);
  return { ...upload, placed: chunks };
}

test("a node that the client cannot reach is exchanged, told to delete, and never comes back in this upload", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = await place(f);
  const [chunk] = upload.placed;
  const [failed, kept] = chunk?.nodes ?? [];
  if (chunk === undefined || failed === undefined || kept === undefined) throw new Error("nothing placed");
  const { chunkHash } = chunk;
  const replacements = [{ chunkHash, failedNodeId: failed.nodeId }];
  const { chunks } = await f.chunks.replaceNodes({ uploadId: upload.uploadId, replacements });
  const nodes = (chunks[0]?.nodes ?? []).map((node) => node.nodeId);
  expect(nodes).toHaveLength(2);
  expect(nodes).toContain(kept.nodeId);
  expect(nodes).not.toContain(failed.nodeId);
  const repeated = await f.chunks.replaceNodes({ uploadId: upload.uploadId, replacements });
  expect(repeated.chunks[0]?.nodes.map((node) => node.nodeId).sort()).toEqual(nodes.sort());
  const late = await f.nodeById(failed.nodeId).client.reportStoredChunks({ chunkHashes: [chunkHash] });
  expect(late.results).toEqual([Result.NOT_PLACED]);
  await f.nodeById(failed.nodeId).client.reportDeletedChunks({ chunkHashes: [chunkHash] });
  await expect(
    f.chunks.replaceNodes({ uploadId: upload.uploadId, replacements: [{ chunkHash, failedNodeId: kept.nodeId }] }),
  ).rejects.toThrow(/fewer nodes/);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a node that has confirmed is kept, and all replacements of a call are made or none", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = await place(f, 2);
  const [first, second] = upload.placed;
  if (first === undefined || second === undefined) throw new Error("nothing placed");
  const confirmed = first.nodes[0]?.nodeId ?? "";
  await f.nodeById(confirmed).client.reportStoredChunks({ chunkHashes: [first.chunkHash] });
  const kept = await f.chunks.replaceNodes({
    uploadId: upload.uploadId,
    replacements: [{ chunkHash: first.chunkHash, failedNodeId: confirmed }],
  });
  expect(kept.chunks[0]?.nodes.map((node) => node.nodeId)).toContain(confirmed);
  const both = second.nodes.map(({ nodeId }) => ({ chunkHash: second.chunkHash, failedNodeId: nodeId }));
  await expect(f.chunks.replaceNodes({ uploadId: upload.uploadId, replacements: both })).rejects.toThrow(/fewer nodes/);
  const now = await f.chunks.placeChunks(upload);
  expect(now.chunks[1]?.nodes.map((node) => node.nodeId).sort()).toEqual(second.nodes.map((n) => n.nodeId).sort());
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a node that holds nothing of the chunk changes nothing, also one that this process has not heard of yet", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(2);
  await using other = await f.anotherProcess();
  const upload = await place(f);
  const { chunkHash = "", nodes: before = [] } = upload.placed[0] ?? {};
  const [stranger] = await other.addNodes(1);
  const replacements = [{ chunkHash, failedNodeId: stranger?.nodeId ?? "" }];
  const unchanged = await f.chunks.replaceNodes({ uploadId: upload.uploadId, replacements });
  const ids = (some: typeof before) => some.map((node) => node.nodeId).sort();
  expect(ids(unchanged.chunks[0]?.nodes ?? [])).toEqual(ids(before));
  expect(await contradictions(f.pool)).toEqual([]);
});

test("unknown uploads, chunks and nodes and malformed requests are refused", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(3);
  const upload = await place(f);
  const [node, never] = [nodes[0]?.nodeId ?? "", newHash()];
  const pair = { chunkHash: newHash(), failedNodeId: node };
  const call = (request: object) =>
    f.chunks.replaceNodes({ uploadId: upload.uploadId, replacements: [pair], ...request });
  await expect(call({})).rejects.toThrow(/no chunk/);
  await expect(call({ uploadId: randomUUID() })).rejects.toThrow(/no upload/);
  const strange = { chunkHash: upload.placed[0]?.chunkHash ?? "", failedNodeId: never };
  const beside = { ...strange, failedNodeId: node };
  await expect(call({ replacements: [beside, strange] })).rejects.toThrow(/replacements\[1\]\.failed_node_id: no node/);
  await expect(call({ replacements: [] })).rejects.toThrow(/replacements/);
  await expect(call({ replacements: [pair, pair] })).rejects.toThrow(/once/);
});

test("an upload that is only being placed is not waited for, because its placement may wait for the same chunks", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = await place(f);
  const content = { userId: upload.userId, uploadId: randomUUID(), replicas: 1, chunks: [], fingerprint: newHash() };
  await f.pool.transaction((tx) => insertAttempt(tx, content, 0n, f.clock.now()));
  const { chunkHash = "", nodes: [node] = [] } = upload.placed[0] ?? {};
  const replacements = [{ chunkHash, failedNodeId: node?.nodeId ?? "" }];
  await f.pool.transaction(async (tx) => {
    await lockUploads(tx, [content.uploadId]);
    await expect(f.chunks.replaceNodes({ uploadId: content.uploadId, replacements })).rejects.toThrow(/no upload/);
  });
});

test("assignments of nodes that went offline are exchanged by themselves; without a target they wait", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(3);
  const upload = await place(f, 30, 2);
  const gone = nodes[0];
  if (gone === undefined) throw new Error("no node");
  const done = upload.placed.find(({ nodes: at }) => at.some(({ nodeId }) => nodeId === gone.nodeId))?.chunkHash ?? "";
  await gone.client.reportStoredChunks({ chunkHashes: [done] });
  const deps = { ...f.deps, placer: f.rooms.placer };
  await f.changeNode(gone, { liveness: "offline" });
  await exchangeForGoneNodes(deps);
  const after = await f.chunks.placeChunks(upload);
  for (const { chunkHash, nodes: at } of after.chunks) {
    expect(at).toHaveLength(2);
    expect(at.some(({ nodeId }) => nodeId === gone.nodeId)).toBe(chunkHash === done);
  }
  const next = nodes[1];
  if (next === undefined) throw new Error("no node");
  await f.changeNode(next, { liveness: "offline" });
  // Only the chunk that the first node has confirmed has a third node left.
  expect(await exchangeForGoneNodes(deps)).toBe(
    after.chunks.some(({ chunkHash, nodes: at }) => chunkHash === done && at.some((n) => n.nodeId === next.nodeId))
      ? 1
      : 0,
  );
  expect((await f.chunks.placeChunks(upload)).chunks.every(({ nodes: at }) => at.length === 2)).toBe(true);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("an exchange of the registry's own gives no chunk back to a node that failed its client", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(3);
  const upload = await place(f);
  const { chunkHash = "", nodes: [failed, kept] = [] } = upload.placed[0] ?? {};
  const failedNodeId = failed?.nodeId ?? "";
  await f.chunks.replaceNodes({ uploadId: upload.uploadId, replacements: [{ chunkHash, failedNodeId }] });
  await f.nodeById(failedNodeId).client.reportDeletedChunks({ chunkHashes: [chunkHash] });
  await f.changeNode(f.nodeById(kept?.nodeId ?? ""), { liveness: "offline" });
  expect(await exchangeForGoneNodes({ ...f.deps, placer: f.rooms.placer })).toBe(0);
  const fourth = await f.addNode();
  expect(await exchangeForGoneNodes({ ...f.deps, placer: f.rooms.placer })).toBe(1);
  const now = (await f.chunks.placeChunks(upload)).chunks[0]?.nodes.map((node) => node.nodeId);
  const third = nodes.find(({ nodeId }) => nodeId !== failedNodeId && nodeId !== kept?.nodeId);
  expect(now?.sort()).toEqual([third?.nodeId, fourth.nodeId].sort());
});

test("a node that this process has not heard of yet keeps what another process has assigned to it", async () => {
  await using f = await createChunkFixture();
  await using other = await f.anotherProcess();
  await f.addNodes(2);
  await other.addNodes(2);
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(20), replicas: 2 };
  await other.chunks.placeChunks(upload);
  expect(await exchangeForGoneNodes({ ...f.deps, placer: f.rooms.placer })).toBe(0);
});
