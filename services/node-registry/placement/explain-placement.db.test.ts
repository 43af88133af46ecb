import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { PlacementRule as Rule } from "#gen/decentrastore/node_registry/v1/placement_pb.ts";
import { createChunkFixture, newChunks, newHash } from "../testing/chunk-fixture.ts";

test("each node is told which rules it breaks, with its score, its weight and its chance", async () => {
  await using f = await createChunkFixture();
  const good = await f.addNode({ region: "eu", network: "10.0.0.0/24", freeBytes: 50n * 2n ** 30n, reputation: 0.9 });
  const other = await f.addNode({ region: "us", network: "10.0.1.0/24" });
  const draining = await f.addNode({ state: "draining" });
  const silent = await f.addNode({ liveness: "offline" });
  const full = await f.addNode({ freeBytes: 10n });
  const hopeless = await f.addNode({ state: "draining", liveness: "offline", freeBytes: 10n });
  const answer = await f.chunks.explainPlacement({ sizeBytes: 1_000n, replicas: 2 });
  const of = (node: { nodeId: string }) => answer.candidates.find(({ nodeId }) => nodeId === node.nodeId);
  expect(answer.candidates.map(({ nodeId }) => nodeId)).toEqual(
    [good, other, draining, silent, full, hopeless].map((n) => n.nodeId).sort(),
  );
  expect([good, other, draining, silent, full, hopeless].map((node) => of(node)?.brokenRules)).toEqual([
    [],
    [],
    [Rule.IN_SERVICE],
    [Rule.ONLINE],
    [Rule.FREE_SPACE],
    [Rule.IN_SERVICE, Rule.ONLINE, Rule.FREE_SPACE],
  ]);
  expect(answer).toMatchObject({ eligibleNodes: 2, isPlaceable: true, relaxedRules: [] });
  expect(of(good)?.weight).toBeCloseTo(0.4 * 0.5 + 0.3 * 0.9 + 0.2 + 0.1);
  expect(of(other)?.weight).toBeCloseTo(1);
  expect((of(good)?.drawShare ?? 0) + (of(other)?.drawShare ?? 0)).toBeCloseTo(1);
  expect(of(full)?.weight).toBe(0);
});

test("a known chunk brings its size, its replicas and its unconfirmed deletions", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(4);
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(1), replicas: 2 };
  const placed = await f.chunks.placeChunks(upload);
  const holders = (placed.chunks[0]?.nodes ?? []).map((node) => node.nodeId);
  const chunkHash = upload.chunks[0]?.chunkHash ?? "";
  const [failedNodeId = ""] = holders;
  const replaced = await f.chunks.replaceNodes({
    uploadId: upload.uploadId,
    replacements: [{ chunkHash, failedNodeId }],
  });
  const now = (replaced.chunks[0]?.nodes ?? []).map((node) => node.nodeId);
  const answer = await f.chunks.explainPlacement({ chunkHash, replicas: 3 });
  for (const { nodeId, brokenRules, isEligible } of answer.candidates) {
    const isFree = !now.includes(nodeId) && nodeId !== failedNodeId;
    expect(isEligible, nodeId).toBe(isFree);
    expect(brokenRules.includes(Rule.ONE_REPLICA_PER_NODE)).toBe(now.includes(nodeId));
    expect(brokenRules.includes(Rule.NO_PENDING_DELETION)).toBe(nodeId === failedNodeId);
  }
  expect(answer).toMatchObject({ eligibleNodes: 1, isPlaceable: true });
  expect((await f.chunks.explainPlacement({ chunkHash, replicas: 5 })).isPlaceable).toBe(false);
  expect(nodes).toHaveLength(4);
});

test("pages by node_id, one node on demand, unknown ones refused", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(5);
  const first = await f.chunks.explainPlacement({ pageSize: 3 });
  const rest = await f.chunks.explainPlacement({ pageSize: 3, pageToken: first.nextPageToken });
  expect([...first.candidates, ...rest.candidates].map(({ nodeId }) => nodeId)).toEqual(
    nodes.map((n) => n.nodeId).sort(),
  );
  expect(rest.nextPageToken).toBe("");
  const one = await f.chunks.explainPlacement({ nodeId: nodes[2]?.nodeId ?? "" });
  expect(one.candidates).toHaveLength(1);
  expect(one.eligibleNodes).toBe(5);
  await expect(f.chunks.explainPlacement({ nodeId: newHash() })).rejects.toThrow(/no node/);
  await expect(f.chunks.explainPlacement({ sizeBytes: -1n })).rejects.toThrow(/size_bytes/);
});
