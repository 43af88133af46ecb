import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { endDueUploads } from "../chunks/end-uploads.worker.ts";
import { createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";
import { contradictions } from "../testing/chunk-truth.ts";
import { sweepPlacements } from "./upload-sweeper.worker.ts";

const DAY_MS = 86_400_000;
const YEAR_MS = 365 * DAY_MS;
const newUpload = () => ({ userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(2), replicas: 2 });

test("an upload that was placed while the clock was years ahead has a day from when it is right again", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(2);
  const upload = newUpload();
  f.clock.jump(YEAR_MS);
  await f.chunks.placeChunks(upload);
  f.clock.jump(-YEAR_MS);
  await endDueUploads(f.deps);
  f.clock.jump(DAY_MS - 1);
  await endDueUploads(f.deps);
  expect((await f.chunks.getUpload(upload)).upload?.state).toBe(UploadState.OPEN);
  f.clock.jump(1);
  await endDueUploads(f.deps);
  expect((await f.chunks.getUpload(upload)).upload?.state).toBe(UploadState.EXPIRED);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("a placement that died, and quota that is owed, since the clock was years ahead are settled", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(2);
  const [dead, unanswered] = [newUpload(), newUpload()];
  f.clock.jump(YEAR_MS);
  f.quota.onReserve = () => {
    throw new ConnectError("gone", Code.Unavailable);
  };
  await expect(f.chunks.placeChunks(unanswered)).rejects.toThrow();
  const reached = Promise.withResolvers<void>();
  f.quota.onReserve = () => {
    reached.resolve();
    return new Promise(() => {});
  };
  void f.chunks.placeChunks(dead).catch(() => {});
  await reached.promise;
  f.quota.onReserve = () => {};
  f.clock.jump(-YEAR_MS);
  await endDueUploads(f.deps);
  await sweepPlacements(f.deps);
  expect([f.quota.held(dead.userId), f.quota.held(unanswered.userId)]).toEqual([0n, 0n]);
  expect(await contradictions(f.pool)).toEqual([]);
});
