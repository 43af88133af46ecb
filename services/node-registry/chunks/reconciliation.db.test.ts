import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { z } from "zod";
import { ChunkLostSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { ReplicaLossCause } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import { StoredChunkResult as Result } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { sql, zInstant } from "#platform/postgres/sql.ts";
import { eventsOf } from "../testing/chunk-events.ts";
import { type ChunkFixture, createChunkFixture, newChunks, newHash, type TestNode } from "../testing/chunk-fixture.ts";
import { contradictions } from "../testing/chunk-truth.ts";
import { bucketOf, digestOf, digestToBytes } from "./chunk-digest.ts";
import type { LoadedDeletions } from "./deletion-turns.ts";
import { readBusyNodes } from "./holdings.store.ts";
import { compareDigests, loadDeletions } from "./node-commands.worker.ts";

async function stored(f: ChunkFixture, count: number, replicas = 2) {
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(count), replicas };
  const { chunks } = await f.chunks.placeChunks(upload);
  const pairs = chunks.flatMap(({ chunkHash, nodes }) => nodes.map(({ nodeId }) => ({ chunkHash, nodeId })));
  for (const [nodeId, held] of Map.groupBy(pairs, (pair) => pair.nodeId)) {
    await f.nodeById(nodeId).client.reportStoredChunks({ chunkHashes: held.map((pair) => pair.chunkHash) });
  }
  const held = (node: TestNode) =>
    chunks
      .filter(({ nodes }) => nodes.some(({ nodeId }) => nodeId === node.nodeId))
      .map((chunk) => chunk.chunkHash)
      .sort();
  return { ...upload, held };
}

/** One round of the loop that fills the commands. */
async function round(f: ChunkFixture, loaded: LoadedDeletions = new Map()) {
  const deps = { ...f.deps, commands: f.rooms.commands };
  const readAtMs = f.clock.monotonicMs();
  await loadDeletions(deps, { busy: await readBusyNodes(f.pool), readAtMs }, loaded);
  await compareDigests(deps);
}

function beat(f: ChunkFixture, node: TestNode, hashes: readonly string[]) {
  const chunkDigest = digestToBytes(digestOf(hashes));
  f.rooms.onHeartbeat(node.nodeId, { chunkCount: BigInt(hashes.length), chunkDigest });
  return f.rooms.commandsFor(node.nodeId, 16).map((command) => command.command.case);
}

async function differsSince(f: ChunkFixture, node: TestNode): Promise<Temporal.Instant | undefined> {
  const row = await f.pool.maybeOne(sql.type(z.strictObject({ since: zInstant }))`
    select since from node_registry.digest_differences where node_id = ${node.rowId}`);
  return row?.since;
}

function bucketDigests(hashes: readonly string[]): Uint8Array[] {
  return Array.from({ length: 256 }, (_, bucket) =>
    digestToBytes(digestOf(hashes.filter((hash) => bucketOf(hash) === bucket))),
  );
}

test("a digest that agrees asks for nothing, one that differs asks for the sums until it agrees", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(2);
  if (node === undefined) throw new Error("no node");
  const upload = await stored(f, 20);
  const held = upload.held(node);
  await f.clock.advance(2_000);
  expect(beat(f, node, held)).toEqual([]);
  await round(f);
  expect(beat(f, node, held)).toEqual([]);
  expect(beat(f, node, held.slice(1))).toEqual([]);
  await round(f);
  expect(beat(f, node, held.slice(1))).toEqual(["reportChunks"]);
  const since = await differsSince(f, node);
  expect(since).toEqual(f.clock.now());
  const [first] = f.rooms.commandsFor(node.nodeId, 16);
  expect(f.rooms.commandsFor(node.nodeId, 16)[0]?.commandId).toBe(first?.commandId);
  const { buckets } = await node.client.reportChunkDigests({ digests: bucketDigests(held.slice(1)) });
  expect(buckets).toEqual([bucketOf(held[0] ?? "")]);
  await f.clock.advance(1_000);
  await round(f);
  expect(await differsSince(f, node)).toEqual(since);
  expect(beat(f, node, held)).toEqual([]);
  await round(f);
  expect(await differsSince(f, node)).toBeUndefined();
  await f.clock.advance(60_000);
  expect(beat(f, node, held)).toEqual([]);
});

test("a bucket settles a difference: assigned is confirmed, unknown is to be deleted, missing is named and not lost", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(2);
  if (node === undefined) throw new Error("no node");
  const upload = await stored(f, 300);
  const missing = upload.held(node)[0] ?? "";
  const bucket = bucketOf(missing);
  const prefix = missing.slice(0, 2);
  const late = { chunkHash: prefix + newHash().slice(2), sizeBytes: 1_000n, blockIndex: 0 };
  await f.chunks.placeChunks({ userId: upload.userId, uploadId: randomUUID(), chunks: [late], replicas: 2 });
  const unknown = prefix + newHash().slice(2);
  const listed = [
    ...upload.held(node).filter((hash) => bucketOf(hash) === bucket && hash !== missing),
    late.chunkHash,
    unknown,
  ].sort();
  const answer = await node.client.reportBucket({ bucket, chunkHashes: listed });
  const expected = listed.map((hash) =>
    hash === unknown ? Result.NOT_PLACED : hash === late.chunkHash ? Result.CONFIRMED : Result.ALREADY_CONFIRMED,
  );
  expect(answer.results).toEqual(expected);
  expect(answer.missingChunkHashes).toEqual([missing]);
  expect(await eventsOf(f.pool, ChunkLostSchema)).toEqual([]);
  const lower = await node.client.reportBucket({ bucket, chunkHashes: [], throughChunkHash: missing });
  expect(lower.missingChunkHashes.at(-1)).toBe(missing);
  const upper = await node.client.reportBucket({
    bucket,
    chunkHashes: listed.filter((h) => h > missing),
    afterChunkHash: missing,
  });
  expect(upper.missingChunkHashes).toEqual([]);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a running sum that somebody has changed by hand is put right by the next report of the sums", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(2);
  if (node === undefined) throw new Error("no node");
  const held = (await stored(f, 5)).held(node);
  await f.pool.query(sql.unsafe`update node_registry.node_holdings set digest = 7 where node_id = ${node.rowId}`);
  await f.clock.advance(2_000);
  beat(f, node, held);
  await round(f);
  expect(beat(f, node, held)).toEqual(["reportChunks"]);
  expect((await node.client.reportChunkDigests({ digests: bucketDigests(held) })).buckets).toEqual([]);
  await f.clock.advance(60_000);
  beat(f, node, held);
  await round(f);
  expect(beat(f, node, held)).toEqual([]);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("bad digests and buckets are refused", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(1);
  if (node === undefined) throw new Error("no node");
  const inBucket = `07${newHash().slice(2)}`;
  await expect(node.client.reportChunkDigests({ digests: [] })).rejects.toThrow(/digests/);
  await expect(node.client.reportChunkDigests({ digests: Array(256).fill(new Uint8Array(7)) })).rejects.toThrow(
    /8 bytes/,
  );
  const bad = [
    { bucket: 256, chunkHashes: [] },
    { bucket: -1, chunkHashes: [] },
    { bucket: 8, chunkHashes: [inBucket] },
    { bucket: 7, chunkHashes: [inBucket, inBucket] },
    { bucket: 7, chunkHashes: [inBucket], afterChunkHash: inBucket },
    { bucket: 7, chunkHashes: [], throughChunkHash: `08${newHash().slice(2)}` },
  ];
  for (const request of bad) await expect(node.client.reportBucket(request)).rejects.toThrow(/bucket|ascending/);
});

test("deletion commands are repeated with one id until the node confirms, also by another process", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(2);
  if (node === undefined) throw new Error("no node");
  await using other = await f.anotherProcess();
  const upload = await stored(f, 5);
  const chunkHashes = upload.held(node);
  await f.chunks.releaseChunks({ ...upload, chunkHashes: upload.chunks.map((chunk) => chunk.chunkHash) });
  beat(f, node, []);
  beat(other, node, []);
  const loaded: LoadedDeletions = new Map();
  await round(f, loaded);
  await round(other);
  const [command] = f.rooms.commandsFor(node.nodeId, 16);
  expect(command?.command).toMatchObject({ case: "deleteChunks", value: { chunkHashes } });
  expect(other.rooms.commandsFor(node.nodeId, 16)[0]?.commandId).toBe(command?.commandId);
  expect(f.rooms.commandsFor(node.nodeId, 0)).toEqual([]);
  await node.client.reportDeletedChunks({ chunkHashes: chunkHashes.slice(0, 3) });
  expect(f.rooms.commandsFor(node.nodeId, 16)[0]?.command.value).toMatchObject({ chunkHashes: chunkHashes.slice(3) });
  await node.client.reportDeletedChunks({ chunkHashes });
  expect(f.rooms.commandsFor(node.nodeId, 16)).toEqual([]);
  await round(f, loaded);
  expect(f.rooms.commandsFor(node.nodeId, 16)).toEqual([]);
  expect(await eventsOf(f.pool, ChunkLostSchema)).toEqual([]);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a deletion that takes the place of one that was confirmed at another process is all that is told", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(2);
  if (node === undefined) throw new Error("no node");
  await using other = await f.anotherProcess();
  const upload = await stored(f, 2);
  const [first = "", second = ""] = upload.held(node);
  await f.chunks.releaseChunks({ ...upload, chunkHashes: [first] });
  const told = () => other.rooms.commandsFor(node.nodeId, 16)[0]?.command.value;
  const loaded: LoadedDeletions = new Map();
  beat(other, node, [second]);
  await round(other, loaded);
  expect(told()).toMatchObject({ chunkHashes: [first] });
  await node.client.reportDeletedChunks({ chunkHashes: [first] });
  await f.chunks.releaseChunks({ ...upload, chunkHashes: [second] });
  await round(other, loaded);
  expect(told()).toMatchObject({ chunkHashes: [second] });
});

test("a process that cannot read what was confirmed elsewhere soon tells nobody to delete anything", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(2);
  if (node === undefined) throw new Error("no node");
  await using other = await f.anotherProcess();
  const upload = await stored(f, 1);
  const [chunkHash = ""] = upload.held(node);
  await f.chunks.releaseChunks({ ...upload, chunkHashes: [chunkHash] });
  beat(other, node, []);
  await round(other);
  await node.client.reportDeletedChunks({ chunkHashes: [chunkHash] });
  await other.clock.advance(21_000);
  expect(beat(other, node, [])).toEqual([]);
});

test("what a node reports lost, or deletes without being asked, is lost once and put on the list", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(2);
  if (node === undefined) throw new Error("no node");
  const upload = await stored(f, 4);
  const hashes = upload.held(node);
  await node.client.reportLostChunks({ chunkHashes: hashes.slice(0, 2) });
  await node.client.reportLostChunks({ chunkHashes: [...hashes.slice(0, 2), newHash()] });
  await node.client.reportDeletedChunks({ chunkHashes: hashes.slice(2) });
  await node.client.reportDeletedChunks({ chunkHashes: hashes });
  const lost = await eventsOf(f.pool, ChunkLostSchema);
  expect(lost.map((event) => event.chunkHash).sort()).toEqual(hashes);
  for (const event of lost) {
    expect(event).toMatchObject({
      nodeId: node.nodeId,
      cause: ReplicaLossCause.REPORTED_BY_NODE,
      confirmedReplicas: 1,
    });
  }
  const page = await f.chunks.listUnderReplicatedChunks({ pageSize: 3 });
  const rest = await f.chunks.listUnderReplicatedChunks({ pageSize: 3, pageToken: page.nextPageToken });
  const listed = [...page.chunks, ...rest.chunks];
  expect(listed.map((chunk) => chunk.chunkHash).sort()).toEqual(hashes);
  for (const chunk of listed)
    expect(chunk).toMatchObject({ liveReplicas: 1, wantedReplicas: 2, userId: upload.userId });
  expect((await f.chunks.getUserUsage(upload)).chargedChunks).toBe(4);
  expect((await f.chunks.locateChunks({ chunkHashes: hashes })).chunks.every(({ nodes }) => nodes.length === 1)).toBe(
    true,
  );
  expect(await contradictions(f.pool)).toEqual([]);
});
