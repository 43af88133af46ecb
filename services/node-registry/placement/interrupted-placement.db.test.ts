import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import { z } from "zod";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";
import { contradictions } from "../testing/chunk-truth.ts";
import { sweepPlacements } from "./upload-sweeper.worker.ts";

const newUpload = () => ({ userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(3), replicas: 2 });

test("a placement that dies after it has reserved is ended by the sweeper, and its quota given back", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = newUpload();
  const reached = Promise.withResolvers<void>();
  f.quota.onReserve = () => {
    reached.resolve();
    // Nobody ever comes back from here: that is what a kill -9 looks like to the others.
    return new Promise(() => {});
  };
  void f.chunks.placeChunks(upload).catch(() => {});
  await reached.promise;
  f.quota.onReserve = () => {};
  expect(f.quota.held()).toBe(3_000n);
  await sweepPlacements(f.deps);
  expect(f.quota.held()).toBe(3_000n);
  f.clock.jump(60_000);
  await sweepPlacements(f.deps);
  expect(f.quota.held()).toBe(0n);
  await expect(f.chunks.getUpload(upload)).rejects.toThrow(/no upload/);
  await f.chunks.placeChunks(upload);
  expect(f.quota.reservations.map(({ key, state }) => [key, state])).toEqual([
    [`${upload.uploadId}/1`, "released"],
    [`${upload.uploadId}/2`, "held"],
  ]);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a dead placement that cannot be ended holds up neither the others nor what is owed", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const stuck = newUpload();
  const uploads = [stuck, newUpload()];
  f.quota.onReserve = () => new Promise(() => {});
  for (const upload of uploads) {
    void f.chunks.placeChunks(upload).catch(() => {});
    await vi.waitFor(() => expect(f.quota.held(upload.userId)).toBe(3_000n), 20_000);
  }
  f.quota.onReserve = () => {};
  const owner = await f.db.pool("node_registry", { url: f.db.url("superuser") });
  await owner.query(sql.unsafe`
    create function node_registry.refuse() returns trigger language plpgsql as 'begin raise exception ''refused''; end'`);
  await owner.query(sql.unsafe`
    create trigger refuse before update on node_registry.uploads for each row
    when (old.upload_id = ${sql.literalValue(stuck.uploadId)}::uuid) execute function node_registry.refuse()`);
  f.clock.jump(60_000);
  await sweepPlacements(f.deps);
  expect(uploads.map(({ userId }) => f.quota.held(userId))).toEqual([3_000n, 0n]);
  await owner.query(sql.unsafe`drop trigger refuse on node_registry.uploads`);
  await sweepPlacements(f.deps);
  expect(f.quota.held()).toBe(0n);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("the client's own retry takes a dead placement over at once, with the same reservation", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = newUpload();
  const reached = Promise.withResolvers<void>();
  f.quota.onReserve = () => {
    reached.resolve();
    return new Promise(() => {});
  };
  void f.chunks.placeChunks(upload).catch(() => {});
  await reached.promise;
  f.quota.onReserve = () => {};
  const placed = await f.chunks.placeChunks(upload);
  expect(placed.reservationId).toBe(f.quota.reservations[0]?.reservationId);
  f.clock.jump(3_600_000);
  await sweepPlacements(f.deps);
  expect(f.quota.held()).toBe(3_000n);
});

test("a call that was only slow, and swept meanwhile, goes on with a new attempt and gives the old one back", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = newUpload();
  f.quota.onReserve = async () => {
    f.quota.onReserve = () => {};
    f.clock.jump(60_000);
    await sweepPlacements(f.deps);
  };
  const placed = await f.chunks.placeChunks(upload);
  expect(f.quota.held()).toBe(3_000n);
  expect(placed.reservationId).toBe(f.quota.reservations.find(({ state }) => state === "held")?.reservationId);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("an unanswered reservation fails the call, is found by its key later and given back", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = newUpload();
  f.quota.onReserve = () => {
    throw new ConnectError("gone", Code.Unavailable);
  };
  await expect(f.chunks.placeChunks(upload)).rejects.toThrow();
  expect(f.quota.held()).toBe(3_000n);
  f.quota.onReserve = () => {};
  await f.chunks.placeChunks(upload);
  expect(f.quota.held()).toBe(6_000n);
  f.clock.jump(15_000);
  await sweepPlacements(f.deps);
  expect(f.quota.held()).toBe(3_000n);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("what cannot be given back now is given back once user-quota answers again", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const owner = newUpload();
  await f.chunks.placeChunks(owner);
  const thief = { ...newUpload(), chunks: [...newChunks(1), ...owner.chunks.slice(0, 1)] };
  // The hash is free when the attempt begins and taken when it wants to place.
  const later = newUpload();
  const racing = { ...newUpload(), chunks: later.chunks };
  f.quota.onReserve = async ({ userId }) => {
    if (userId === racing.userId) await f.chunks.placeChunks(later);
  };
  f.quota.onRelease = () => {
    throw new ConnectError("gone", Code.Unavailable);
  };
  await expect(f.chunks.placeChunks(thief)).rejects.toThrow(/another user/);
  await expect(f.chunks.placeChunks(racing)).rejects.toThrow(/another user/);
  expect(f.quota.held(racing.userId)).toBe(3_000n);
  f.clock.jump(5_000);
  await sweepPlacements(f.deps);
  expect(f.quota.held(racing.userId)).toBe(3_000n);
  f.quota.onRelease = () => {};
  f.clock.jump(60_000);
  await sweepPlacements(f.deps);
  expect(f.quota.held(racing.userId)).toBe(0n);
  expect(f.quota.held(thief.userId)).toBe(0n);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("failed attempts are forgotten when their reservation keys cannot matter any more", async () => {
  await using f = await createChunkFixture();
  f.quota.limitBytes = 0n;
  await f.addNodes(3);
  await expect(f.chunks.placeChunks(newUpload())).rejects.toThrow(/QUOTA_EXCEEDED/);
  f.clock.jump(7 * 24 * 3_600_000);
  await sweepPlacements(f.deps);
  expect(await f.pool.anyFirst(countUploads())).toEqual([0n]);
});

function countUploads() {
  return sql.type(z.strictObject({ count: zInt8 }))`select count(*) as count from node_registry.uploads`;
}
