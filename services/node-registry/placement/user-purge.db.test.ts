import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { insertDeletedUsers } from "../chunks/deleted-users.store.ts";
import { type ChunkFixture, createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";
import { contradictions } from "../testing/chunk-truth.ts";
import { beginAttempt, placeUpload } from "./place-upload.store.ts";
import { fingerprintOf } from "./upload-content.ts";
import { purgeDeletedUsers } from "./user-purge.worker.ts";

function newContent() {
  const chunks = newChunks(2).map((chunk) => ({ ...chunk, proofRoot: null }));
  const content = { userId: randomUUID(), uploadId: randomUUID(), replicas: 2, chunks };
  return { ...content, fingerprint: fingerprintOf(content) };
}

async function livingChunks(f: ChunkFixture, chunkHashes: readonly string[]) {
  return (await f.chunks.locateChunks({ chunkHashes: [...chunkHashes] })).chunks.map((chunk) => chunk.chunkHash);
}

test("a placement that looked before its user was deleted is found, however long it takes to commit", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const content = newContent();
  const hashes = content.chunks.map((chunk) => chunk.chunkHash);
  await f.pool.transaction((tx) => beginAttempt(tx, content, { now: f.clock.now(), hasEnoughNodes: () => true }));
  const [placed, mayCommit] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const placing = f.pool.transaction(async (tx) => {
    const now = f.clock.now();
    const terms = { attempt: 1, newBytes: 2_000n, reservationId: randomUUID(), now, expiresAt: now.add({ hours: 24 }) };
    await placeUpload(tx, content, { ...terms, firstProofWithinMs: 1_000, place: f.rooms.placer.place });
    placed.resolve();
    await mayCommit.promise;
  });
  await placed.promise;
  await f.pool.transaction((tx) => insertDeletedUsers(tx, [content.userId], f.clock.now()));
  f.clock.jump(3_600_000);
  await purgeDeletedUsers(f.deps);
  mayCommit.resolve();
  await placing;
  expect(await livingChunks(f, hashes)).toEqual(hashes);
  await purgeDeletedUsers(f.deps);
  expect(await livingChunks(f, hashes)).toEqual([]);
  expect(await contradictions(f.pool)).toEqual([]);
});
