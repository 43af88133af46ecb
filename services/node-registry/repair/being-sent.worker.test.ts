import { randomUUID } from "node:crypto";
import pg from "pg";
import { expect, test } from "vitest";
import { newChunks } from "../testing/chunk-fixture.ts";
import { createProofFixture, type ProofFixture } from "../testing/proof-fixture.ts";
import { countRows, replicasOf } from "../testing/proof-queries.ts";
import { nodesOf, repairOf } from "../testing/repair-fixture.ts";

/** An upload of which some replicas of the first chunk, and nothing of the second, have arrived. */
async function uploading(fixture: ProofFixture, { nodes = 6, replicas = 3, arrived = 2 } = {}) {
  const { chunks } = fixture;
  await fixture.addNodes(nodes);
  const upload = { userId: randomUUID(), uploadId: randomUUID(), replicas, chunks: newChunks(2) };
  const placed = await chunks.chunks.placeChunks(upload);
  const [chunk] = placed.chunks;
  if (chunk === undefined) throw new Error("the chunk is not placed");
  const holders = chunk.nodes.map(({ nodeId }) => chunks.nodeById(nodeId));
  const { chunkHash } = chunk;
  for (const node of holders.slice(0, arrived)) await node.client.reportStoredChunks({ chunkHashes: [chunkHash] });
  return { chunkHash, uploadId: upload.uploadId, stored: holders.slice(0, arrived), awaited: holders.slice(arrived) };
}

test("replicas that a client is still sending are left to it, and their chunks are not even locked", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  const { chunkHash, awaited } = await uploading(fixture);
  const repair = repairOf(fixture.chunks);
  expect(await countRows(pool, "under_replicated_chunks")).toBe(1);
  const reporter = new pg.Client({ connectionString: fixture.chunks.db.url() });
  await reporter.connect();
  await reporter.query("begin");
  await reporter.query(`select from node_registry.chunks where chunk_hash = '\\x${chunkHash}' for update`);
  await repair.round();
  await reporter.end();
  await clock.advance(14 * 60_000);
  await repair.round();
  expect(await countRows(pool, "chunk_repairs")).toBe(0);
  for (const node of awaited) await node.client.reportStoredChunks({ chunkHashes: [chunkHash] });
  await clock.advance(60 * 60_000);
  await repair.round();
  expect(await countRows(pool, "chunk_repairs")).toBe(0);
  expect(await countRows(pool, "under_replicated_chunks")).toBe(0);
  expect(await replicasOf(pool, chunkHash)).toHaveLength(3);
});

test("what the client has not sent a while after the quorum is copied, and counts from an exchanged node's assignment", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  const { chunkHash, uploadId, stored, awaited } = await uploading(fixture);
  const repair = repairOf(fixture.chunks);
  await clock.advance(14 * 60_000);
  const failedNodeId = awaited[0]?.nodeId ?? "";
  await fixture.chunks.chunks.replaceNodes({ uploadId, replacements: [{ chunkHash, failedNodeId }] });
  await clock.advance(14 * 60_000);
  await repair.round();
  expect(await countRows(pool, "chunk_repairs")).toBe(0);
  await clock.advance(2 * 60_000);
  await repair.round();
  const [fetch, ...others] = repair.fetches(nodesOf(fixture));
  expect(others).toEqual([]);
  expect(fetch?.sources.map(({ nodeId }) => nodeId).toSorted()).toEqual(stored.map(({ nodeId }) => nodeId).toSorted());
});

test("a replica that was to come to a node that is gone is made at once", async () => {
  await using fixture = await createProofFixture();
  const { chunkHash, awaited } = await uploading(fixture);
  const repair = repairOf(fixture.chunks);
  await repair.round();
  expect(repair.fetches(nodesOf(fixture))).toEqual([]);
  for (const node of awaited) await fixture.chunks.changeNode(node, { liveness: "offline" });
  await repair.round();
  expect(repair.fetches(nodesOf(fixture)).map((fetch) => fetch.chunkHash)).toEqual([chunkHash]);
});

test("with fewer live replicas than the quorum nothing is waited for", async () => {
  await using fixture = await createProofFixture();
  const { chunkHash, stored } = await uploading(fixture);
  const repair = repairOf(fixture.chunks);
  await repair.round();
  expect(repair.fetches(nodesOf(fixture))).toEqual([]);
  await stored[0]?.client.reportLostChunks({ chunkHashes: [chunkHash] });
  await repair.round();
  const fetches = repair.fetches(nodesOf(fixture));
  expect(fetches.map((fetch) => fetch.chunkHash)).toEqual([chunkHash, chunkHash]);
  expect(fetches[0]?.sources.map(({ nodeId }) => nodeId)).toEqual([stored[1]?.nodeId]);
});

test("a lost replica is made at once beside those that are being sent", async () => {
  await using fixture = await createProofFixture();
  const { chunkHash, stored } = await uploading(fixture, { nodes: 9, replicas: 6, arrived: 5 });
  const repair = repairOf(fixture.chunks);
  await stored[0]?.client.reportLostChunks({ chunkHashes: [chunkHash] });
  await repair.round();
  expect(repair.fetches(nodesOf(fixture)).map((fetch) => fetch.chunkHash)).toEqual([chunkHash]);
});
