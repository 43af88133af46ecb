import { expect, test } from "vitest";
import { z } from "zod";
import { sql } from "#platform/postgres/sql.ts";
import { createProofFixture, type ProofFixture } from "../testing/proof-fixture.ts";
import { countRows, eventsAbout, evidenceOf, replicasOf } from "../testing/proof-queries.ts";
import { damagedChunk, nodesOf, repairOf } from "../testing/repair-fixture.ts";
import { newWalk, planOnce } from "./planner.worker.ts";

// One thing that cannot be helped must not keep the planner from all the others.

async function storedOn(fixture: ProofFixture, chunkHash: string): Promise<bigint[]> {
  const replicas = await replicasOf(fixture.chunks.pool, chunkHash);
  return replicas.filter((replica) => replica.is_stored).map((replica) => replica.node_id);
}

async function lossesOf(fixture: ProofFixture, chunkHash: string): Promise<number> {
  return (await eventsAbout(fixture.chunks.pool, chunkHash)).filter((name) => name === "ChunkLost").length;
}

test("of two missing replicas one is made where only one node is left that can take it", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 3 });
  const [fourth] = await fixture.addNodes(1);
  for (const holder of chunk.holders.slice(0, 2)) {
    await holder.client.reportLostChunks({ chunkHashes: [chunk.chunkHash] });
    await fixture.chunks.changeNode(holder, { liveness: "offline" });
  }
  const repair = repairOf(fixture.chunks);
  await repair.round();
  expect(repair.fetches(nodesOf(fixture)).map((fetch) => fetch.nodeId)).toEqual([fourth?.nodeId]);
});

test("a chunk is reached behind any number of others that nothing can be done for", async () => {
  await using fixture = await createProofFixture();
  const { pool, deps, rooms } = fixture.chunks;
  const chunk = await damagedChunk(fixture, 5);
  // Two of their three replicas are on nodes that are silent at the moment.
  await pool.query(sql.unsafe`
    with made as (
      insert into node_registry.chunks (chunk_hash, owner_id, size_bytes, wanted_replicas, confirmed_replicas,
        live_replicas, paying_upload_id, created_at, quorum_at)
      select sha256(n::text::bytea), gen_random_uuid(), 1000, 3, 3, 1, gen_random_uuid(), now(), now() - interval '1 day'
      from generate_series(1, 51000) as n
      returning chunk_hash
    )
    insert into node_registry.under_replicated_chunks (chunk_hash, live_replicas, wanted_replicas, since)
    select chunk_hash, 1, 3, now() from made`);
  const walk = newWalk();
  for (let round = 0; round < 15; round += 1) await planOnce({ ...deps, placer: rooms.placer }, walk);
  const { repaired } = await pool.one(sql.type(z.strictObject({ repaired: z.array(z.string()) }))`
    select array_agg(encode(chunk_hash, 'hex')) as repaired from node_registry.chunk_repairs`);
  expect(repaired).toEqual([chunk.chunkHash]);
});

test("nodes that left one after the other are counted out, however many they have become", async () => {
  await using fixture = await createProofFixture();
  const { pool, changeNode } = fixture.chunks;
  const nodes = await fixture.addNodes(10);
  const chunk = await fixture.store({ replicas: 3 });
  const holders = new Set(chunk.holders.map(({ nodeId }) => nodeId));
  const staying = nodes.find(({ nodeId }) => !holders.has(nodeId));
  const others = nodes.filter(({ nodeId }) => !holders.has(nodeId) && nodeId !== staying?.nodeId);
  for (const node of [...chunk.holders.slice(1), ...others]) await changeNode(node, { liveness: "offline" });
  await pool.query(sql.unsafe`
    update node_registry.node_leases set liveness_since = now() - node_row_id * interval '1 day'`);
  const repair = repairOf(fixture.chunks);
  await repair.round();
  expect(await lossesOf(fixture, chunk.chunkHash)).toBe(2);
  expect(repair.fetches(nodesOf(fixture)).map((fetch) => fetch.nodeId)).toEqual([staying?.nodeId]);
});

test("a node that is back is not told to fetch what it may bring with it", async () => {
  await using fixture = await createProofFixture();
  const { changeNode } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 3 });
  const [holder] = chunk.holders;
  if (holder === undefined) throw new Error("three holders");
  await changeNode(holder, { state: "disqualified" });
  const repair = repairOf(fixture.chunks);
  await repair.round();
  expect(await lossesOf(fixture, chunk.chunkHash)).toBe(1);
  await changeNode(holder, { state: "in_service" });
  await fixture.chunks.clock.advance(60_000);
  await repair.round();
  expect(repair.fetches(nodesOf(fixture))).toEqual([]);
  await holder.client.reportStoredChunks({ chunkHashes: [chunk.chunkHash] });
  expect(await storedOn(fixture, chunk.chunkHash)).toHaveLength(3);
});

test("a node that reports lost what it was asked to prove is not given it again before that has counted", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  await fixture.addNodes(3);
  const chunk = await fixture.store({ replicas: 3 });
  const [holder] = chunk.holders;
  if (holder === undefined) throw new Error("three holders");
  await fixture.untilAsked(holder);
  await holder.client.reportLostChunks({ chunkHashes: [chunk.chunkHash] });
  const repair = repairOf(fixture.chunks);
  await repair.round();
  expect(repair.fetches(nodesOf(fixture))).toEqual([]);
  await fixture.schedule(true);
  expect(await evidenceOf(pool, holder.rowId)).toEqual(["proof_failed"]);
  await clock.advance(60_000);
  await repair.round();
  expect(repair.fetches(nodesOf(fixture)).map((fetch) => fetch.nodeId)).toEqual([holder.nodeId]);
});

test("a repair that cannot be ended holds up no other one", async () => {
  await using fixture = await createProofFixture();
  const { pool, clock } = fixture.chunks;
  const broken = await damagedChunk(fixture, 8);
  const other = await fixture.store({ replicas: 3 });
  await other.holders[0]?.client.reportLostChunks({ chunkHashes: [other.chunkHash] });
  const repair = repairOf(fixture.chunks);
  await repair.round();
  expect(await countRows(pool, "chunk_repairs")).toBe(2);
  // A deletion that nobody can have asked for: there cannot be a second one.
  await pool.query(sql.unsafe`
    insert into node_registry.chunk_deletions (chunk_hash, node_id, cause, requested_at)
    select chunk_hash, node_id, 'not_placed', now() from node_registry.chunk_repairs
    where chunk_hash = decode(${broken.chunkHash}, 'hex')`);
  await clock.advance(11 * 60_000);
  await repair.round();
  const left = await pool.any(sql.type(z.strictObject({ chunk_hash: z.string() }))`
    select encode(chunk_hash, 'hex') as chunk_hash from node_registry.chunk_repairs`);
  expect(left.map((row) => row.chunk_hash)).toEqual([broken.chunkHash]);
});

test("a chunk whose loss cannot be recorded holds up neither the node's others nor other nodes", async () => {
  await using fixture = await createProofFixture();
  const { pool, changeNode } = fixture.chunks;
  await fixture.addNodes(3);
  const chunks = [await fixture.store(), await fixture.store(), await fixture.store()];
  const [broken, ...others] = chunks.toSorted((a, b) => (a.chunkHash < b.chunkHash ? -1 : 1));
  for (const holder of chunks[0]?.holders.slice(0, 2) ?? []) await changeNode(holder, { state: "disqualified" });
  await pool.query(sql.unsafe`
    update node_registry.chunks set live_replicas = 0, confirmed_replicas = 0
    where chunk_hash = decode(${broken?.chunkHash ?? null}, 'hex')`);
  await repairOf(fixture.chunks).round();
  for (const { chunkHash } of others) expect(await lossesOf(fixture, chunkHash)).toBe(2);
});
