import { expect, test } from "vitest";
import { sql } from "#platform/postgres/sql.ts";
import { createProofFixture } from "../testing/proof-fixture.ts";
import { countRows, eventsAbout, replicasOf } from "../testing/proof-queries.ts";
import { damagedChunk, nodesOf, repairOf } from "../testing/repair-fixture.ts";

const HOUR = 3_600_000;

test("a missing replica is fetched by another node from those that have it, and told as repaired, without a charge", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  const chunk = await damagedChunk(fixture, 5);
  const repair = repairOf(fixture.chunks);
  await repair.round();
  const [fetch, ...others] = repair.fetches(nodesOf(fixture));
  expect(others).toEqual([]);
  if (fetch === undefined) throw new Error("nobody is told to fetch");
  const keepers = chunk.holders.slice(1).map((holder) => holder.nodeId);
  expect(fetch).toMatchObject({ chunkHash: chunk.chunkHash, sizeBytes: BigInt(chunk.bytes.length) });
  expect(fetch.sources.map((source) => source.nodeId).toSorted()).toEqual(keepers.toSorted());
  expect(keepers).not.toContain(fetch.nodeId);
  // Repeated until it is done, by the same id.
  await repair.round();
  expect(repair.fetches(nodesOf(fixture)).map((again) => again.commandId)).toEqual([fetch.commandId]);

  await fixture.chunks.nodeById(fetch.nodeId).client.reportStoredChunks({ chunkHashes: [chunk.chunkHash] });
  await repair.round();
  expect(repair.fetches(nodesOf(fixture))).toEqual([]);
  expect(await countRows(pool, "chunk_repairs")).toBe(0);
  expect(await countRows(pool, "under_replicated_chunks")).toBe(0);
  expect((await replicasOf(pool, chunk.chunkHash)).filter((replica) => replica.is_stored)).toHaveLength(3);
  expect((await eventsAbout(pool, chunk.chunkHash)).slice(-2)).toEqual(["ChunkLost", "ChunkRepaired"]);
  const usage = await fixture.chunks.chunks.getUserUsage({ userId: chunk.userId });
  expect(usage).toMatchObject({ chargedChunks: 1, chargedBytes: BigInt(chunk.bytes.length) });
});

test("a node that does not fetch in time, or goes away, is replaced, and deletes what comes after all", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  const chunk = await damagedChunk(fixture, 6);
  const repair = repairOf(fixture.chunks);
  await repair.round();
  const [first] = repair.fetches(nodesOf(fixture));
  await clock.advance(11 * 60_000);
  await repair.round();
  expect(await countRows(pool, "chunk_repairs")).toBe(0);
  await clock.advance(60_000);
  await repair.round();
  const [second] = repair.fetches(nodesOf(fixture));
  if (first === undefined || second === undefined) throw new Error("two fetches");
  expect(second.nodeId).not.toBe(first.nodeId);
  const late = await fixture.chunks
    .nodeById(first.nodeId)
    .client.reportStoredChunks({ chunkHashes: [chunk.chunkHash] });
  expect(late.results).toHaveLength(1);
  expect((await replicasOf(pool, chunk.chunkHash)).filter((replica) => replica.is_stored)).toHaveLength(2);
  await fixture.chunks.changeNode(fixture.chunks.nodeById(second.nodeId), { liveness: "offline" });
  await repair.round();
  await clock.advance(5 * 60_000);
  await repair.round();
  const [third] = repair.fetches(nodesOf(fixture));
  expect([first.nodeId, second.nodeId]).not.toContain(third?.nodeId ?? first.nodeId);
});

test("replicas of a disqualified node are lost and repaired; those of an offline one only after a while", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(8);
  const chunk = await fixture.store({ replicas: 3 });
  const [shutOut, silent] = chunk.holders;
  if (shutOut === undefined || silent === undefined) throw new Error("three holders");
  await fixture.chunks.changeNode(silent, { liveness: "offline" });
  const repair = repairOf(fixture.chunks);
  await repair.round();
  expect(await eventsAbout(pool, chunk.chunkHash)).not.toContain("ChunkLost");
  expect(repair.fetches(nodesOf(fixture))).toEqual([]);
  await fixture.chunks.changeNode(shutOut, { state: "disqualified" });
  await repair.round();
  expect((await eventsAbout(pool, chunk.chunkHash)).filter((name) => name === "ChunkLost")).toHaveLength(1);
  const [fetch, ...others] = repair.fetches(nodesOf(fixture));
  expect(others).toEqual([]);
  // Only the holder that can answer is a source.
  expect(fetch?.sources.map((source) => source.nodeId)).toEqual([chunk.holders[2]?.nodeId]);
  await pool.query(sql.unsafe`
    update node_registry.node_leases set liveness_since = liveness_since - ${2 * HOUR} * interval '1 millisecond'
    where node_row_id = ${silent.rowId}`);
  await repair.round();
  expect((await eventsAbout(pool, chunk.chunkHash)).filter((name) => name === "ChunkLost")).toHaveLength(2);
  expect(repair.fetches(nodesOf(fixture))).toHaveLength(2);
});

test("a large part of the network that is silent at once is not counted as lost", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  const nodes = await fixture.addNodes(10);
  const chunk = await fixture.store({ replicas: 3 });
  for (const node of nodes.slice(0, 6)) await fixture.chunks.changeNode(node, { liveness: "offline" });
  await pool.query(sql.unsafe`update node_registry.node_leases set liveness_since = now() - interval '1 day'`);
  await repairOf(fixture.chunks).round();
  expect(await eventsAbout(pool, chunk.chunkHash)).not.toContain("ChunkLost");
});

test("a released chunk ends its repair, and a chunk without a source waits without holding up others", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  const released = await damagedChunk(fixture, 7);
  const hopeless = await fixture.store({ replicas: 3 });
  for (const holder of hopeless.holders) await holder.client.reportLostChunks({ chunkHashes: [hopeless.chunkHash] });
  const repair = repairOf(fixture.chunks);
  await repair.round();
  expect(repair.fetches(nodesOf(fixture)).map((fetch) => fetch.chunkHash)).toEqual([released.chunkHash]);
  await fixture.release(released);
  await repair.round();
  expect(await countRows(pool, "chunk_repairs")).toBe(0);
  await clock.advance(HOUR);
  await repair.round();
  expect(repair.fetches(nodesOf(fixture))).toEqual([]);
  expect(await countRows(pool, "under_replicated_chunks")).toBe(1);
});

test("no node fetches more than its budget at a time", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(4);
  for (let count = 0; count < 12; count += 1) {
    const chunk = await fixture.store({ replicas: 3, sizeBytes: 1_500 });
    await chunk.holders[0]?.client.reportLostChunks({ chunkHashes: [chunk.chunkHash] });
  }
  const repair = repairOf(fixture.chunks);
  await repair.round();
  const perNode = Map.groupBy(repair.fetches(nodesOf(fixture)), (fetch) => fetch.nodeId);
  expect(perNode.size).toBeGreaterThan(0);
  for (const fetches of perNode.values()) expect(fetches.length).toBeLessThanOrEqual(4);
});

test("a node without a source is replaced at once, and a chunk that nobody can get is not passed around", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  const chunk = await damagedChunk(fixture, 9);
  const repair = repairOf(fixture.chunks);
  const asked: string[] = [];
  const refuse = async () => {
    const [fetch, ...others] = repair.fetches(nodesOf(fixture));
    expect(others).toEqual([]);
    if (fetch === undefined) return;
    asked.push(fetch.nodeId);
    await fixture.chunks.nodeById(fetch.nodeId).client.reportLostChunks({ chunkHashes: [chunk.chunkHash] });
    await repair.round();
  };
  await repair.round();
  await refuse();
  // The second one is asked in the very next round, without any time passing.
  await refuse();
  expect(new Set(asked).size).toBe(2);
  // From then on there is a pause, which grows.
  await refuse();
  expect(asked).toHaveLength(2);
  expect(await countRows(pool, "chunk_repairs")).toBe(0);
  await clock.advance(5 * 60_000);
  await repair.round();
  await refuse();
  expect(new Set(asked).size).toBe(3);
  expect((await replicasOf(pool, chunk.chunkHash)).filter((replica) => replica.is_stored)).toHaveLength(2);
});
