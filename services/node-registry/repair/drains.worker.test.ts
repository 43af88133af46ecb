import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { newHash } from "../testing/chunk-fixture.ts";
import { createProofFixture, type ProofFixture, type StoredChunk } from "../testing/proof-fixture.ts";
import { countRows, eventsAbout, evidenceOf, replicasOf } from "../testing/proof-queries.ts";
import { nodesOf, repairOf } from "../testing/repair-fixture.ts";
import { readHoldings } from "./figures.store.ts";

/** So many chunks that the same node holds, which is then drained. */
async function drained(fixture: ProofFixture, chunks: number) {
  const stored: StoredChunk[] = [];
  for (let count = 0; count < chunks; count += 1) stored.push(await fixture.store({ replicas: 3, sizeBytes: 1_500 }));
  const node = stored[0]?.holders[0];
  if (node === undefined) throw new Error("three holders");
  await fixture.chunks.changeNode(node, { state: "draining" });
  const held = stored.filter(({ holders }) => holders.some(({ nodeId }) => nodeId === node.nodeId));
  return { node, held };
}

/** Rounds in which every node carries out its fetches and deletions, until nothing is told to fetch any more. */
async function liveOn(fixture: ProofFixture, repair: ReturnType<typeof repairOf>) {
  for (let round = 0; round < 50; round += 1) {
    await repair.round();
    const fetches = repair.fetches(nodesOf(fixture));
    if (fetches.length === 0) return;
    for (const { nodeId, chunkHash } of fetches) {
      await fixture.chunks.nodeById(nodeId).client.reportStoredChunks({ chunkHashes: [chunkHash] });
    }
  }
  throw new Error("the drain does not end");
}

async function storedOn(fixture: ProofFixture, chunkHash: string): Promise<bigint[]> {
  const replicas = await replicasOf(fixture.chunks.pool, chunkHash);
  return replicas.filter((replica) => replica.is_stored).map((replica) => replica.node_id);
}

test("what a draining node holds is copied to others from all who have it, then taken from it, until it is empty", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(6);
  const { node, held } = await drained(fixture, 12);
  const repair = repairOf(fixture.chunks);
  await repair.round();
  const fetches = repair.fetches(nodesOf(fixture));
  expect(fetches.length).toBeGreaterThan(0);
  expect(fetches.map((fetch) => fetch.nodeId)).not.toContain(node.nodeId);
  for (const fetch of fetches) expect(fetch.sources.map((source) => source.nodeId)).toContain(node.nodeId);
  // Before the copies are confirmed nothing is taken away.
  expect((await readHoldings(pool, node.rowId)).confirmed_chunks).toBe(BigInt(held.length));
  await liveOn(fixture, repair);
  for (const { chunkHash, userId } of held) {
    const holders = await storedOn(fixture, chunkHash);
    expect(holders).toHaveLength(3);
    expect(holders).not.toContain(node.rowId);
    expect((await eventsAbout(pool, chunkHash)).slice(-2)).toEqual(["ChunkRepaired", "ChunkLost"]);
    expect(await fixture.chunks.chunks.getUserUsage({ userId })).toMatchObject({ chargedChunks: 1 });
  }
  expect(await countRows(pool, "under_replicated_chunks")).toBe(0);
  expect(await readHoldings(pool, node.rowId)).toMatchObject({
    confirmed_chunks: 0n,
    pending_deletions: BigInt(held.length),
  });
  // The node is told to delete them, and that is no loss of its own.
  await node.client.reportDeletedChunks({ chunkHashes: held.map((chunk) => chunk.chunkHash) });
  expect(await readHoldings(pool, node.rowId)).toMatchObject({ confirmed_chunks: 0n, pending_deletions: 0n });
  expect(await evidenceOf(pool, node.rowId)).toEqual([]);
});

test("a drain takes nothing away while another holder is silent, and goes on when it is back", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(3);
  const { node, held } = await drained(fixture, 1);
  const [chunk] = held;
  const silent = chunk?.holders.find(({ nodeId }) => nodeId !== node.nodeId);
  if (chunk === undefined || silent === undefined) throw new Error("three holders");
  const repair = repairOf(fixture.chunks);
  await repair.round();
  // Nobody can take the copy: three nodes, three replicas.
  expect(repair.fetches(nodesOf(fixture))).toEqual([]);
  expect(await storedOn(fixture, chunk.chunkHash)).toContain(node.rowId);
  const [fourth] = await fixture.addNodes(1);
  await fixture.chunks.clock.advance(5 * 60_000);
  await repair.round();
  const [fetch] = repair.fetches(nodesOf(fixture));
  expect(fetch?.nodeId).toBe(fourth?.nodeId);
  await fixture.chunks.changeNode(silent, { liveness: "offline" });
  await fourth?.client.reportStoredChunks({ chunkHashes: [chunk.chunkHash] });
  await repair.round();
  expect(await storedOn(fixture, chunk.chunkHash)).toHaveLength(4);
  await fixture.chunks.changeNode(silent, { liveness: "online" });
  await liveOn(fixture, repair);
  const holders = await storedOn(fixture, chunk.chunkHash);
  expect(holders).toHaveLength(3);
  expect(holders).not.toContain(node.rowId);
});

test("a draining node that is being asked for a chunk keeps it until it has answered, and is not blamed for its removal", async () => {
  await using fixture = await createProofFixture();
  const { pool } = fixture.chunks;
  await fixture.addNodes(4);
  const { node, held } = await drained(fixture, 1);
  const [chunk] = held;
  if (chunk === undefined) throw new Error("one chunk");
  const asked = await fixture.untilAsked(node);
  const repair = repairOf(fixture.chunks);
  await liveOn(fixture, repair);
  expect(await storedOn(fixture, chunk.chunkHash)).toHaveLength(4);
  expect(await fixture.answer(node, asked, chunk.bytes)).toBe(true);
  await repair.round();
  expect(await storedOn(fixture, chunk.chunkHash)).toHaveLength(3);
  await fixture.schedule(true);
  await fixture.score();
  expect(await evidenceOf(pool, node.rowId)).toEqual([]);
  expect(fixture.chunks.deps.view.node(node.nodeId)?.reputationScore).toBe(1);
});

test("repair of what is missing goes before a drain, which leaves half of each node's budget to it and is not held up by busy nodes", async () => {
  await using fixture = await createProofFixture();
  await fixture.addNodes(4);
  const { node, held } = await drained(fixture, 16);
  const repair = repairOf(fixture.chunks);
  await repair.round();
  const before = Map.groupBy(repair.fetches(nodesOf(fixture)), (fetch) => fetch.nodeId);
  expect(before.size).toBeGreaterThan(0);
  for (const fetches of before.values()) expect(fetches.length).toBeLessThanOrEqual(2);
  const fetched = new Set([...before.values()].flat().map((fetch) => fetch.chunkHash));
  const damaged = held.find(({ chunkHash }) => !fetched.has(chunkHash));
  if (damaged === undefined) throw new Error("the drain has taken everything");
  await damaged.holders.at(-1)?.client.reportLostChunks({ chunkHashes: [damaged.chunkHash] });
  await repair.round();
  expect(repair.fetches(nodesOf(fixture)).map((fetch) => fetch.chunkHash)).toContain(damaged.chunkHash);
  // Those that found every node busy only wait for their turn: without any time passing the drain comes to its end.
  await liveOn(fixture, repair);
  expect((await readHoldings(fixture.chunks.pool, node.rowId)).confirmed_chunks).toBe(0n);
});

test("a drain of more chunks than are looked at in one round comes to its end", async () => {
  await using fixture = await createProofFixture();
  const holders = await fixture.addNodes(2);
  const chunks = Array.from({ length: 230 }, (_, blockIndex) => ({
    chunkHash: newHash(),
    sizeBytes: 1_500n,
    blockIndex,
  }));
  const userId = randomUUID();
  await fixture.chunks.chunks.placeChunks({ userId, uploadId: randomUUID(), replicas: 2, chunks });
  const chunkHashes = chunks.map(({ chunkHash }) => chunkHash);
  for (const { client } of holders) await client.reportStoredChunks({ chunkHashes });
  const [node] = holders;
  if (node === undefined) throw new Error("two holders");
  await fixture.addNodes(8);
  await fixture.chunks.changeNode(node, { state: "draining" });
  const repair = repairOf(fixture.chunks);
  const { pool, clock } = fixture.chunks;
  const held = async () => (await readHoldings(pool, node.rowId)).confirmed_chunks;
  expect(await held()).toBe(230n);
  for (let round = 0; round < 200 && (await held()) > 0n; round += 1) {
    await repair.round();
    const fetches = Map.groupBy(repair.fetches(nodesOf(fixture)), ({ nodeId }) => nodeId);
    for (const [nodeId, fetched] of fetches) {
      const hashes = fetched.map(({ chunkHash }) => chunkHash);
      await fixture.chunks.nodeById(nodeId).client.reportStoredChunks({ chunkHashes: hashes });
    }
    // A pass that found nothing to do rests.
    if (fetches.size === 0) await clock.advance(10_000);
  }
  expect(await held()).toBe(0n);
  expect(await countRows(pool, "under_replicated_chunks")).toBe(0);
  for (const chunkHash of [chunkHashes[0], chunkHashes[150], chunkHashes[229]]) {
    expect(await storedOn(fixture, chunkHash ?? "")).toHaveLength(2);
  }
});
