import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { hexBytes, sql } from "#platform/postgres/sql.ts";
import { createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";
import { contradictions, deadlocks } from "../testing/chunk-truth.ts";
import { createAvailabilityRounds, followAvailability } from "./availability.worker.ts";

test("replicas of a node that is gone stop being live, and are live again when it is back", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(3);
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(30), replicas: 3 };
  await f.chunks.placeChunks(upload);
  const chunkHashes = upload.chunks.map((chunk) => chunk.chunkHash);
  for (const node of nodes) await node.client.reportStoredChunks({ chunkHashes });
  await followAvailability(f.deps);
  expect((await f.chunks.listUnderReplicatedChunks({})).chunks).toEqual([]);
  const [first, second] = nodes;
  if (first === undefined || second === undefined) throw new Error("no nodes");
  await f.changeNode(first, { liveness: "offline" });
  await followAvailability(f.deps, [first.rowId]);
  expect((await f.chunks.listUnderReplicatedChunks({ pageSize: 1 })).chunks).toMatchObject([
    { liveReplicas: 2, confirmedReplicas: 3 },
  ]);
  await f.changeNode(second, { state: "disqualified" });
  await followAvailability(f.deps);
  await second.client.reportLostChunks({ chunkHashes: chunkHashes.slice(0, 1) }).catch(() => {});
  expect((await f.chunks.listUnderReplicatedChunks({})).chunks.map((chunk) => chunk.liveReplicas)).toEqual(
    Array(30).fill(1),
  );
  const located = await f.chunks.locateChunks({ chunkHashes: chunkHashes.slice(0, 1) });
  const order = [nodes[2], first, second].map((node) => node?.nodeId);
  expect(located.chunks[0]?.nodes.map((node) => node.nodeId)).toEqual(order);
  await f.changeNode(first, { liveness: "online" });
  await f.changeNode(second, { state: "in_service" });
  await followAvailability(f.deps);
  expect((await f.chunks.listUnderReplicatedChunks({})).chunks).toEqual([]);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a node that goes while the database is away is followed in the first round after it", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(1);
  if (node === undefined) throw new Error("no node");
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(3), replicas: 1 };
  await f.chunks.placeChunks(upload);
  await node.client.reportStoredChunks({ chunkHashes: upload.chunks.map((chunk) => chunk.chunkHash) });
  const changed = new Set<bigint>();
  const round = createAvailabilityRounds(f.deps, changed);
  await round();
  await f.changeNode(node, { liveness: "offline" });
  changed.add(node.rowId);
  const owner = await f.db.pool("node_registry", { url: f.db.url("superuser") });
  await owner.query(sql.unsafe`alter table node_registry.node_holdings rename to node_holdings_away`);
  await expect(round()).rejects.toThrow();
  await owner.query(sql.unsafe`alter table node_registry.node_holdings_away rename to node_holdings`);
  expect((await f.chunks.listUnderReplicatedChunks({})).chunks).toEqual([]);
  await round();
  expect((await f.chunks.listUnderReplicatedChunks({})).chunks).toHaveLength(3);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a walk that is told to stop ends with its batch, and the next one goes on from there", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(1);
  if (node === undefined) throw new Error("no node");
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(700), replicas: 1 };
  await f.chunks.placeChunks(upload);
  await node.client.reportStoredChunks({ chunkHashes: upload.chunks.map((chunk) => chunk.chunkHash) });
  await followAvailability(f.deps);
  await f.changeNode(node, { liveness: "offline" });
  const stop = new AbortController();
  const now = () => {
    stop.abort();
    return f.clock.now();
  };
  await followAvailability({ ...f.deps, clock: { ...f.deps.clock, now } }, undefined, stop.signal);
  expect((await f.chunks.listUnderReplicatedChunks({ pageSize: 1_000 })).chunks).toHaveLength(500);
  await followAvailability(f.deps);
  expect((await f.chunks.listUnderReplicatedChunks({ pageSize: 1_000 })).chunks).toHaveLength(700);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("nodes that come and go while others report, lose and release leave every number right", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(5);
  await using other = await f.anotherProcess();
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(1_000), replicas: 3 };
  const placed = await f.chunks.placeChunks(upload);
  const portions = nodes.flatMap((node) => {
    const held = placed.chunks.filter(({ nodes: at }) => at.some(({ nodeId }) => nodeId === node.nodeId));
    return [0, 1, 2, 3].map((part) => ({
      node,
      chunkHashes: held.filter((_, index) => index % 4 === part).map((chunk) => chunk.chunkHash),
    }));
  });
  const reporting = (async () => {
    for (const { node, chunkHashes } of portions) {
      await other.nodeById(node.nodeId).client.reportStoredChunks({ chunkHashes });
      await f.nodeById(node.nodeId).client.reportLostChunks({ chunkHashes: chunkHashes.slice(0, 5) });
      await f.chunks.releaseChunks({ ...upload, chunkHashes: chunkHashes.slice(5, 8) });
    }
  })();
  const flapping = (async () => {
    for (let turn = 0; turn < 6; turn += 1) {
      for (const [index, node] of nodes.entries()) {
        await f.changeNode(node, { liveness: (turn + index) % 2 ? "offline" : "online" });
      }
      await followAvailability(f.deps);
    }
  })();
  await Promise.all([reporting, flapping]);
  await followAvailability(f.deps);
  expect(await contradictions(f.pool)).toEqual([]);
  expect(await deadlocks(f.pool)).toBe(0n);
});

test("a node that this process has not heard of yet counts as it is", async () => {
  await using f = await createChunkFixture();
  await using other = await f.anotherProcess();
  const nodes = await other.addNodes(2);
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(2), replicas: 2 };
  await other.chunks.placeChunks(upload);
  const chunkHashes = upload.chunks.map((chunk) => chunk.chunkHash);
  for (const node of nodes) await node.client.reportStoredChunks({ chunkHashes });
  expect(await followAvailability(f.deps)).toBe(0);
  expect((await f.chunks.listUnderReplicatedChunks({})).chunks).toEqual([]);
});

test("a node whose replicas cannot be followed holds up no other one", async () => {
  await using f = await createChunkFixture();
  const nodes = await f.addNodes(2);
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(40), replicas: 1 };
  const { chunks } = await f.chunks.placeChunks(upload);
  const hashesAt = new Map<string, string[]>(nodes.map((node) => [node.nodeId, []]));
  for (const { chunkHash, nodes: at } of chunks) hashesAt.get(at[0]?.nodeId ?? "")?.push(chunkHash);
  for (const { nodeId, client } of nodes) await client.reportStoredChunks({ chunkHashes: hashesAt.get(nodeId) ?? [] });
  const [stuck, other] = nodes;
  if (stuck === undefined || other === undefined) throw new Error("no nodes");
  // What only a hand in the database can do.
  const [wrong = ""] = hashesAt.get(stuck.nodeId) ?? [];
  await f.pool.query(
    sql.unsafe`update node_registry.chunks set live_replicas = 0 where chunk_hash = ${hexBytes(wrong)}`,
  );
  for (const node of nodes) await f.changeNode(node, { liveness: "offline" });
  await followAvailability(f.deps);
  const listed = (await f.chunks.listUnderReplicatedChunks({})).chunks.map((chunk) => chunk.chunkHash);
  expect(listed.toSorted()).toEqual((hashesAt.get(other.nodeId) ?? []).toSorted());
});
