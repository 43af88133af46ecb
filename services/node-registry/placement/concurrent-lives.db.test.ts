import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { ChunkReleasedSchema, ChunkStoredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { RpcError } from "#platform/rpc/errors.ts";
import { followAvailability } from "../chunks/availability.worker.ts";
import { insertDeletedUsers } from "../chunks/deleted-users.store.ts";
import { endDueUploads } from "../chunks/end-uploads.worker.ts";
import { eventsOf } from "../testing/chunk-events.ts";
import { type ChunkFixture, createChunkFixture, newHash, type TestNode } from "../testing/chunk-fixture.ts";
import { contradictions, deadlocks } from "../testing/chunk-truth.ts";
import { endsByReservation, unsettledReservations } from "../testing/reservation-truth.ts";
import { exchangeForGoneNodes } from "./exchange.worker.ts";
import { sweepPlacements } from "./upload-sweeper.worker.ts";
import { purgeDeletedUsers } from "./user-purge.worker.ts";

const CALLERS = Number(process.env.CHUNK_CALLERS ?? 12);
const STEPS = Number(process.env.CHUNK_STEPS ?? 30);
const USERS = 3;

/** What a client may hear when others use the same chunks at the same time. */
const EXPECTED = new Set([
  "CHUNK_OWNED_BY_ANOTHER_USER",
  "PLACEMENT_IN_PROGRESS",
  "NOT_ENOUGH_NODES",
  "UPLOAD_NOT_FOUND",
  "UPLOAD_EXPIRED",
  "CHUNK_NOT_FOUND",
  "ACCOUNT_CLOSED",
  "DEPENDENCY_UNAVAILABLE",
  "OVERLOADED",
]);

interface Shared {
  readonly processes: readonly ChunkFixture[];
  readonly users: readonly string[];
  readonly hashes: readonly string[];
  readonly nodes: readonly string[];
  readonly uploads: {
    uploadId: string;
    userId: string;
    request: Parameters<ChunkFixture["chunks"]["placeChunks"]>[0];
  }[];
}

function any<T>(items: readonly T[]): T {
  const item = items[Math.floor(Math.random() * items.length)];
  if (item === undefined) throw new Error("nothing to choose from");
  return item;
}

function some<T>(items: readonly T[], most: number): T[] {
  return [...items].sort(() => Math.random() - 0.5).slice(0, 1 + Math.floor(Math.random() * most));
}

async function step({ processes, users, hashes, nodes, uploads }: Shared): Promise<unknown> {
  const f = any(processes);
  const chance = Math.random();
  const node = f.nodeById(any(nodes)).client;
  if (uploads.length === 0 || chance < 0.22) {
    const ids = { uploadId: randomUUID(), userId: any(users) };
    const chunks = some(hashes, 5).map((chunkHash, blockIndex) => ({ chunkHash, sizeBytes: 100n, blockIndex }));
    const request = { ...ids, chunks, replicas: 1 + Math.floor(Math.random() * 4) };
    uploads.push({ ...ids, request });
    return Promise.all([
      f.chunks.placeChunks(request),
      Math.random() < 0.3 ? any(processes).chunks.placeChunks(request) : undefined,
    ]);
  }
  const upload = any(uploads);
  if (chance < 0.54) return node.reportStoredChunks({ chunkHashes: some(hashes, 6) });
  if (chance < 0.6) return lookOrReconcile(f, node, hashes, any(users));
  if (chance < 0.66) return node.reportLostChunks({ chunkHashes: some(hashes, 2) });
  if (chance < 0.74) return node.reportDeletedChunks({ chunkHashes: some(hashes, 6) });
  if (chance < 0.82) return f.chunks.releaseChunks({ ...upload, chunkHashes: some(hashes, 8) });
  if (chance < 0.86) return f.chunks.placeChunks(upload.request);
  if (chance < 0.92)
    return f.chunks.replaceNodes({
      uploadId: upload.uploadId,
      replacements: some(hashes, 2).map((chunkHash) => ({ chunkHash, failedNodeId: any(nodes) })),
    });
  if (chance < 0.94) {
    f.clock.jump(3 * 3_600_000);
    return endDueUploads(f.deps);
  }
  if (chance < 0.96) return sweepPlacements(f.deps);
  if (chance < 0.98) {
    await f.changeNode(f.nodeById(any(nodes)), { liveness: Math.random() < 0.4 ? "offline" : "online" });
    return followAvailability(f.deps);
  }
  if (chance < 0.99) return exchangeForGoneNodes({ ...f.deps, placer: f.rooms.placer });
  return purgeDeletedUsers(f.deps);
}

/** Reads, and the reports that settle differences: none of them may fail, whatever changes meanwhile. */
function lookOrReconcile(f: ChunkFixture, node: TestNode["client"], hashes: readonly string[], userId: string) {
  const chunkHash = any(hashes);
  const bucket = Number.parseInt(chunkHash.slice(0, 2), 16);
  return any([
    () => node.reportBucket({ bucket, chunkHashes: [chunkHash] }),
    () => node.reportBucket({ bucket }),
    () => f.chunks.getUserUsage({ userId }),
    () => f.chunks.locateChunks({ chunkHashes: [...hashes] }),
    () => f.chunks.listUnderReplicatedChunks({ pageSize: 2 }),
  ])();
}

async function caller(shared: Shared, unexpected: unknown[]): Promise<void> {
  for (let count = 0; count < STEPS; count += 1) {
    await step(shared).catch((error: unknown) => {
      const reason = error instanceof ConnectError ? error.findDetails(ErrorInfoSchema)[0]?.reason : undefined;
      if (reason === undefined || !EXPECTED.has(reason)) unexpected.push(error);
    });
  }
}

/** user-quota fails now and then: before it looked, and after it did what was asked. */
function disturb({ quota }: ChunkFixture): void {
  const fail = (share: number, code: Code, reason: string) => {
    if (Math.random() < share) throw new RpcError({ code, reason, message: reason });
  };
  quota.beforeReserve = () => fail(0.05, Code.ResourceExhausted, "OVERLOADED");
  quota.onReserve = () => fail(0.1, Code.Unavailable, "DEPENDENCY_UNAVAILABLE");
  quota.onRelease = () => fail(0.3, Code.ResourceExhausted, "OVERLOADED");
}

function calm({ quota }: ChunkFixture): void {
  Object.assign(quota, { beforeReserve: () => {}, onReserve: () => {}, onRelease: () => {} });
}

test("whatever two processes do at the same time, every number, event and reservation is right", async () => {
  await using f = await createChunkFixture();
  const nodes = (await f.addNodes(6)).map((node) => node.nodeId);
  await using other = await f.anotherProcess();
  const users = Array.from({ length: USERS }, () => randomUUID());
  const hashes = Array.from({ length: 12 }, newHash);
  const shared: Shared = { processes: [f, other], users, hashes, nodes, uploads: [] };
  const unexpected: unknown[] = [];
  disturb(f);
  await Promise.all(Array.from({ length: CALLERS }, () => caller(shared, unexpected)));
  const [gone = ""] = users;
  await f.pool.transaction((tx) => insertDeletedUsers(tx, [gone], f.clock.now()));
  await Promise.all([caller(shared, unexpected), caller(shared, unexpected), purgeDeletedUsers(f.deps)]);
  expect(unexpected).toEqual([]);
  calm(f);
  f.clock.jump(25 * 3_600_000);
  for (const node of nodes) await f.changeNode(f.nodeById(node), {});
  for (const node of nodes) await other.changeNode(other.nodeById(node), {});
  await followAvailability(f.deps);
  await followAvailability(f.deps);
  for (let round = 0; round < 3; round += 1) {
    while (await endDueUploads(f.deps));
    await sweepPlacements(f.deps);
    await purgeDeletedUsers(f.deps);
    f.clock.jump(700_000);
  }
  expect(await contradictions(f.pool)).toEqual([]);
  expect(await deadlocks(f.pool)).toBe(0n);
  expect((await f.chunks.getUserUsage({ userId: gone })).chargedChunks).toBe(0);

  const stored = (await eventsOf(f.pool, ChunkStoredSchema)).filter((event) => event.reachedQuorum);
  const lives = stored.map((event) => `${event.chunkHash} ${event.generation}`);
  expect(new Set(lives).size, "a life is charged once").toBe(lives.length);
  const charged = new Set(lives);
  for (const event of await eventsOf(f.pool, ChunkReleasedSchema)) {
    expect(event.charged, "what was charged is refunded").toBe(charged.has(`${event.chunkHash} ${event.generation}`));
  }
  expect(await unsettledReservations(f.pool), "what is posted to a reservation closes it").toEqual([]);
  const closed = await endsByReservation(f.pool);
  const leaked = f.quota.reservations.filter(
    ({ state, reservationId }) => state === "held" && !closed.has(reservationId),
  );
  expect(leaked, "no reservation without an upload that ends it").toEqual([]);
  for (const { state, reservationId } of f.quota.reservations) {
    if (closed.has(reservationId)) expect(state, "no reservation is given back that an upload uses").toBe("held");
  }
}, 120_000);
