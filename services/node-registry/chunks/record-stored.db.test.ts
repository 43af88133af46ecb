import { randomUUID } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { z } from "zod";
import {
  ChunkReleasedSchema,
  ChunkStoredSchema,
  UploadCompletedSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import { StoredChunkResult as Result } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { sql, zBytes } from "#platform/postgres/sql.ts";
import { eventsOf } from "../testing/chunk-events.ts";
import { type ChunkFixture, createChunkFixture, newChunks, newHash } from "../testing/chunk-fixture.ts";
import { contradictions, deadlocks } from "../testing/chunk-truth.ts";
import { endDueUploads } from "./end-uploads.worker.ts";
import { quorumOf } from "./quorum.ts";

async function place(f: ChunkFixture, count: number, replicas: number) {
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(count), replicas };
  const { chunks } = await f.chunks.placeChunks(upload);
  const pairs = chunks.flatMap(({ chunkHash, nodes }) => nodes.map(({ nodeId }) => ({ chunkHash, nodeId })));
  return { ...upload, pairs };
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

test("reports from all nodes at once, three times over, on two processes, count each replica once and the quorum once", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(7);
  await using other = await f.anotherProcess();
  const uploads = [await place(f, 40, 3), await place(f, 40, 5), await place(f, 20, 1)];
  const pairs = uploads.flatMap((upload) => upload.pairs);
  const calls = shuffled([...pairs, ...pairs, ...pairs]).map(({ nodeId, chunkHash }, index) =>
    (index % 2 ? f : other)
      .nodeById(nodeId)
      .client.reportStoredChunks({ chunkHashes: [chunkHash], sizesBytes: [1_000n] }),
  );
  const results = (await Promise.all(calls)).flatMap((answer) => answer.results);
  expect(results.filter((result) => result === Result.CONFIRMED)).toHaveLength(pairs.length);
  expect(results.filter((result) => result === Result.ALREADY_CONFIRMED)).toHaveLength(2 * pairs.length);
  const stored = await eventsOf(f.pool, ChunkStoredSchema);
  expect(stored).toHaveLength(pairs.length);
  for (const [hash, events] of Map.groupBy(stored, (event) => event.chunkHash)) {
    const wanted = events[0]?.wantedReplicas ?? 0;
    expect(
      events.map((event) => event.confirmedReplicas),
      hash,
    ).toEqual(events.map((_, index) => index + 1));
    expect(events.findIndex((event) => event.reachedQuorum) + 1).toBe(quorumOf(wanted));
    expect(events.filter((event) => event.reachedQuorum)).toHaveLength(1);
  }
  const completed = await eventsOf(f.pool, UploadCompletedSchema);
  expect(completed.map((event) => event.uploadId).sort()).toEqual(uploads.map((upload) => upload.uploadId).sort());
  expect(await contradictions(f.pool)).toEqual([]);
  expect(await deadlocks(f.pool)).toBe(0n);
});

test("confirming every chunk of a page in one call leaves each row in its page, so that no index is written", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(1);
  const upload = await place(f, 200, 1);
  const pages = () =>
    f.pool.any(sql.type(z.strictObject({ chunk: z.string(), page: z.string() }))`
      select encode(chunk_hash, 'hex') as chunk, split_part(ctid::text, ',', 1) as page
      from node_registry.chunks order by chunk_hash`);
  const before = await pages();
  expect(new Set(before.map(({ page }) => page)).size).toBeGreaterThan(3);
  await node?.client.reportStoredChunks({ chunkHashes: upload.chunks.map((chunk) => chunk.chunkHash) });
  expect(await eventsOf(f.pool, ChunkStoredSchema)).toHaveLength(200);
  expect(await pages()).toEqual(before);
});

test("each wrong report hears why, and changes nothing", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = await place(f, 1, 2);
  const [pair] = upload.pairs;
  if (pair === undefined) throw new Error("nothing placed");
  const holders = new Set(upload.pairs.map(({ nodeId }) => nodeId));
  const stranger = (await f.addNodes(1))[0];
  const node = f.nodeById(pair.nodeId);
  const report = async (client: typeof node.client, hash: string, size?: bigint) =>
    (await client.reportStoredChunks({ chunkHashes: [hash], sizesBytes: size === undefined ? [] : [size] })).results[0];
  expect(await report(node.client, pair.chunkHash, 999n)).toBe(Result.WRONG_SIZE);
  expect(await report(node.client, newHash())).toBe(Result.NOT_PLACED);
  expect(stranger && holders.has(stranger.nodeId)).toBe(false);
  if (stranger !== undefined) expect(await report(stranger.client, pair.chunkHash)).toBe(Result.NOT_PLACED);
  expect(await eventsOf(f.pool, ChunkStoredSchema)).toEqual([]);
  expect(await report(node.client, pair.chunkHash, 1_000n)).toBe(Result.CONFIRMED);
  expect(await report(node.client, pair.chunkHash)).toBe(Result.ALREADY_CONFIRMED);
  expect(await report(node.client, pair.chunkHash, 999n)).toBe(Result.WRONG_SIZE);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a report with no, 10,000 or malformed hashes, or with sizes that do not fit, is refused as a whole", async () => {
  await using f = await createChunkFixture();
  const [node] = await f.addNodes(1);
  if (node === undefined) throw new Error("no node");
  const hash = newHash();
  const bad = [
    { chunkHashes: [] },
    { chunkHashes: Array.from({ length: 10_000 }, newHash) },
    { chunkHashes: ["abc"] },
    { chunkHashes: [hash], sizesBytes: [1n, 2n] },
    { chunkHashes: [hash], sizesBytes: [-1n] },
  ];
  for (const request of bad)
    await expect(node.client.reportStoredChunks(request)).rejects.toThrow(/chunk_hashes|sizes_bytes/);
});

test("expiry and reports that race agree: what was confirmed counts, what was expired is not", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  await using other = await f.anotherProcess();
  for (let round = 0; round < 8; round += 1) {
    const upload = await place(f, 30, 3);
    f.clock.jump(24 * 3_600_000);
    const [answers] = await Promise.all([
      Promise.all(
        shuffled(upload.pairs).map(async ({ nodeId, chunkHash }) => {
          const { results } = await other.nodeById(nodeId).client.reportStoredChunks({ chunkHashes: [chunkHash] });
          return results[0];
        }),
      ),
      endDueUploads(f.deps),
    ]);
    expect(new Set(answers).isSubsetOf(new Set([Result.CONFIRMED, Result.UPLOAD_EXPIRED]))).toBe(true);
    const { upload: after } = await f.chunks.getUpload(upload);
    const isComplete = after?.state === UploadState.COMPLETED;
    expect(after?.chargedChunks).toBe(isComplete ? 30 : (after?.chunks.length ?? -1));
    expect(await contradictions(f.pool)).toEqual([]);
  }
  expect(await deadlocks(f.pool)).toBe(0n);
});

test("release and reports that race leave neither a charge without a chunk nor a chunk without a charge", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  await using other = await f.anotherProcess();
  for (let round = 0; round < 8; round += 1) {
    const upload = await place(f, 20, 3);
    const chunkHashes = upload.chunks.map((chunk) => chunk.chunkHash);
    await Promise.all([
      ...shuffled(upload.pairs).map(({ nodeId, chunkHash }) =>
        other.nodeById(nodeId).client.reportStoredChunks({ chunkHashes: [chunkHash] }),
      ),
      f.chunks.releaseChunks({ ...upload, chunkHashes: chunkHashes.slice(0, 10) }),
      other.chunks.releaseChunks({ ...upload, chunkHashes: chunkHashes.slice(5, 15) }),
    ]);
    expect(await contradictions(f.pool)).toEqual([]);
    const usage = await f.chunks.getUserUsage(upload);
    expect(usage).toMatchObject({ chargedChunks: 5, chargedBytes: 5_000n });
  }
  expect(await deadlocks(f.pool)).toBe(0n);
});

test("usage and outbox position are of one instant, however many reports and releases run", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(4);
  await using other = await f.anotherProcess();
  const upload = await place(f, 60, 2);
  const reads: Promise<{ chargedBytes: bigint; outboxPosition: bigint }>[] = [];
  await Promise.all(
    shuffled(upload.pairs).map(async ({ nodeId, chunkHash }, index) => {
      await (index % 2 ? f : other).nodeById(nodeId).client.reportStoredChunks({ chunkHashes: [chunkHash] });
      if (index % 3 === 0) reads.push(f.chunks.getUserUsage(upload));
      if (index % 10 === 0) await f.chunks.releaseChunks({ ...upload, chunkHashes: [chunkHash] });
    }),
  );
  for (const { chargedBytes, outboxPosition } of await Promise.all(reads)) {
    expect(await chargedUpTo(f, upload.userId, outboxPosition)).toBe(chargedBytes);
  }
  expect(await contradictions(f.pool)).toEqual([]);
  expect(await deadlocks(f.pool)).toBe(0n);
});

test("the position is that of an event which user-quota consumes, whatever happens to nodes later", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = await place(f, 1, 1);
  for (const { nodeId, chunkHash } of upload.pairs) {
    await f.nodeById(nodeId).client.reportStoredChunks({ chunkHashes: [chunkHash] });
  }
  const before = await f.chunks.getUserUsage(upload);
  await f.pool.query(sql.unsafe`
    insert into node_registry.outbox (event_id, subject, key, key_version, type, payload)
    values (gen_random_uuid(), 'decentrastore.node.online.later', 'later', 1, 'NodeOnline', '')`);
  expect(before.outboxPosition).toBeGreaterThan(0n);
  expect(await f.chunks.getUserUsage(upload)).toEqual(before);
  // Nothing was published, and then what a consumer of chunks waits for, though not the rest.
  expect(before.isPublished).toBe(false);
  await f.pool.query(sql.unsafe`
    update node_registry.outbox set published_at = clock_timestamp() where subject like 'decentrastore.chunk.%'
      or subject like 'decentrastore.upload.%'`);
  expect(await f.chunks.getUserUsage(upload)).toEqual({ ...before, isPublished: true });
});

/** What a consumer has charged after every event up to this outbox id. */
async function chargedUpTo(f: ChunkFixture, userId: string, position: bigint): Promise<bigint> {
  const rows = await f.pool.any(sql.type(z.strictObject({ type: z.string(), payload: zBytes }))`
    select type, payload from node_registry.outbox where id <= ${position}`);
  let charged = 0n;
  for (const { type, payload } of rows) {
    if (type === ChunkStoredSchema.typeName) {
      const event = fromBinary(ChunkStoredSchema, payload);
      if (event.userId === userId && event.reachedQuorum) charged += event.sizeBytes;
    } else if (type === ChunkReleasedSchema.typeName) {
      const event = fromBinary(ChunkReleasedSchema, payload);
      if (event.userId === userId && event.charged) charged -= event.sizeBytes;
    }
  }
  return charged;
}
