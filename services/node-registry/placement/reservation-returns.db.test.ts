import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import type { Pool } from "#platform/postgres/pool.ts";
import { RpcError } from "#platform/rpc/errors.ts";
import { createChunkRooms } from "../chunk-rooms.ts";
import { type ChunkFixture, createChunkFixture, newChunks, serviceClient } from "../testing/chunk-fixture.ts";
import { contradictions } from "../testing/chunk-truth.ts";
import { sweepPlacements } from "./upload-sweeper.worker.ts";

const newUpload = () => ({ userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(3), replicas: 2 });

/** Answers by which user-quota has decided nothing: it has not even looked. */
const UNDECIDED = [
  { code: Code.ResourceExhausted, reason: "OVERLOADED" },
  { code: Code.Unauthenticated, reason: "TOKEN_INVALID" },
  { code: Code.PermissionDenied, reason: "ACCESS_DENIED" },
];

/** Two uploads that want the same new hashes: the second one loses them after it has reserved. */
async function loseRace(f: ChunkFixture) {
  const [winner, loser] = [newUpload(), newUpload()];
  f.quota.onReserve = async ({ userId }) => {
    if (userId === loser.userId) await f.chunks.placeChunks(winner);
  };
  await expect(f.chunks.placeChunks({ ...loser, chunks: winner.chunks })).rejects.toThrow(/another user/);
  f.quota.onReserve = () => {};
  return loser.userId;
}

test.for(UNDECIDED)(
  "a reservation stays owed while user-quota refuses to take it back with $reason",
  async ({ code, reason }) => {
    await using f = await createChunkFixture();
    await f.addNodes(3);
    const refuse = () => {
      throw new RpcError({ code, reason, message: reason });
    };
    f.quota.onRelease = refuse;
    const userId = await loseRace(f);
    f.clock.jump(60_000);
    await sweepPlacements(f.deps);
    expect(f.quota.held(userId)).toBe(3_000n);
    f.quota.onRelease = () => {};
    f.clock.jump(600_000);
    await sweepPlacements(f.deps);
    expect(f.quota.held(userId)).toBe(0n);
  },
);

test.for(UNDECIDED)(
  "a reservation whose answer never came stays owed while it is asked for and refused with $reason",
  async ({ code, reason }) => {
    await using f = await createChunkFixture();
    await f.addNodes(3);
    const upload = newUpload();
    f.quota.onReserve = () => {
      throw new ConnectError("gone", Code.Unavailable);
    };
    await expect(f.chunks.placeChunks(upload)).rejects.toThrow();
    f.quota.onReserve = () => {};
    f.quota.beforeReserve = () => {
      throw new RpcError({ code, reason, message: reason });
    };
    f.clock.jump(60_000);
    await sweepPlacements(f.deps);
    expect(f.quota.held()).toBe(3_000n);
    f.quota.beforeReserve = () => {};
    f.clock.jump(600_000);
    await sweepPlacements(f.deps);
    expect(f.quota.held()).toBe(0n);
  },
);

test("a process that dies right after it has given an attempt up leaves the reservation for the sweeper", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const [winner, loser] = [newUpload(), newUpload()];
  const dead = Promise.withResolvers<void>();
  // Outside of transactions nothing gets through any more: that is what the others see of a process that was killed.
  const pool: Pool = {
    ...f.pool,
    query: () => {
      dead.resolve();
      return new Promise(() => {});
    },
  };
  const dying = createChunkRooms({ ...f.deps, pool });
  f.quota.onReserve = async ({ userId }) => {
    if (userId === loser.userId) await f.chunks.placeChunks(winner);
  };
  f.quota.onRelease = () => {
    dead.resolve();
    return new Promise(() => {});
  };
  void serviceClient(dying).placeChunks({ ...loser, chunks: winner.chunks });
  await dead.promise;
  f.quota.onRelease = () => {};
  f.clock.jump(60_000);
  await sweepPlacements(f.deps);
  expect(f.quota.held(loser.userId)).toBe(0n);
  expect(await contradictions(f.pool)).toEqual([]);
});

test("of two calls of one upload the unanswered one is found although the refused one has ended the attempt", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  const upload = newUpload();
  f.quota.onReserve = async () => {
    f.quota.beforeReserve = () => {
      throw new RpcError({ code: Code.ResourceExhausted, reason: "OVERLOADED", message: "too much" });
    };
    await expect(f.chunks.placeChunks(upload)).rejects.toThrow(/too much/);
    f.quota.beforeReserve = () => {};
    throw new ConnectError("gone", Code.Unavailable);
  };
  await expect(f.chunks.placeChunks(upload)).rejects.toThrow();
  f.quota.onReserve = () => {};
  f.clock.jump(60_000);
  await sweepPlacements(f.deps);
  expect(f.quota.held()).toBe(0n);
});

test("where user-quota does not answer, a round waits for it once and not for each reservation", async () => {
  await using f = await createChunkFixture();
  await f.addNodes(3);
  f.quota.onRelease = () => {
    throw new ConnectError("gone", Code.Unavailable);
  };
  const users = [await loseRace(f), await loseRace(f), await loseRace(f)];
  let asked = 0;
  f.quota.onRelease = () => {
    asked += 1;
    throw new ConnectError("gone", Code.Unavailable);
  };
  f.clock.jump(60_000);
  await sweepPlacements(f.deps);
  expect(asked).toBe(1);
  f.quota.onRelease = () => {};
  f.clock.jump(600_000);
  await sweepPlacements(f.deps);
  expect(users.map((userId) => f.quota.held(userId))).toEqual([0n, 0n, 0n]);
});
