import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { createClient } from "@connectrpc/connect";
import bcrypt from "bcrypt";
import { afterAll, beforeAll, expect, it } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { NodeLiveness } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { StoredChunkResult } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { LedgerEntryKind } from "#gen/decentrastore/user_quota/v1/ledger_entry_pb.ts";
import { ReservationState } from "#gen/decentrastore/user_quota/v1/reservation_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { transportTo } from "../dev/upload/session.ts";
import { type ControlPlane, startControlPlane } from "./fixtures/control-plane.ts";
import { gatewayClients, newChunks, quotaClientOf, registerUser, totalBytes } from "./fixtures/network.ts";
import { connectSubscriber, type ReplayedEvent, replay } from "./fixtures/stream-replay.ts";
import { joinNode, type TestNode } from "./fixtures/test-node.ts";
import { until } from "./fixtures/until.ts";

// The main flow of the system, with real processes and the public protocols alone.

const stack = new AsyncDisposableStack();
let controlPlane: ControlPlane;
let nodes: readonly TestNode[];
beforeAll(async () => {
  controlPlane = stack.use(await startControlPlane());
  const network = await controlPlane.devFile();
  nodes = await Promise.all(Array.from({ length: 3 }, async () => stack.use(await joinNode(network))));
  await bringOnline(nodes, await gatewayClients(network));
}, 120_000);
afterAll(() => stack.disposeAsync(), 120_000);

it("charges a stored chunk once, with two of three replicas, however often the nodes report", async () => {
  const network = await controlPlane.devFile();
  const user = await registerUser(network);
  const quotas = quotaClientOf(network, user);
  const gateway = await gatewayClients(network);
  const opened = (await quotas.getQuota({ userId: user.userId })).quota;
  expect(opened).toMatchObject({ storageUsedBytes: 0n, storageReservedBytes: 0n, storageQuotaBytes: 10n * 2n ** 30n });

  const chunks = newChunks(5);
  const uploadId = randomUUID();
  const request = { userId: user.userId, uploadId, chunks, replicas: 3 };
  const placed = await gateway.chunks.placeChunks(request);
  expect(placed.chunks.map((chunk) => chunk.nodes.length)).toEqual([3, 3, 3, 3, 3]);
  expect((await gateway.chunks.placeChunks(request)).reservationId).toBe(placed.reservationId);
  const reserved = (await quotas.getQuota({ userId: user.userId })).quota;
  expect(reserved).toMatchObject({ storageUsedBytes: 0n, storageReservedBytes: totalBytes(chunks) });

  const chunkHashes = chunks.map((chunk) => chunk.chunkHash);
  const sizesBytes = chunks.map((chunk) => chunk.sizeBytes);
  const [first, second] = nodes;
  const report = (node: TestNode | undefined) => node?.client.reportStoredChunks({ chunkHashes, sizesBytes });
  const answers = await Promise.all([report(first), report(second), report(first), report(second), report(first)]);
  const results = answers.flatMap((answer) => answer?.results ?? []);
  expect(results.filter((result) => result === StoredChunkResult.CONFIRMED)).toHaveLength(10);
  expect(results.filter((result) => result === StoredChunkResult.ALREADY_CONFIRMED)).toHaveLength(15);

  await until("the bytes are charged", 60_000, async () => {
    const { quota } = await quotas.getQuota({ userId: user.userId });
    return quota?.storageUsedBytes === totalBytes(chunks) && quota.storageReservedBytes === 0n;
  });
  const { upload } = await gateway.chunks.getUpload({ uploadId });
  expect(upload).toMatchObject({ state: UploadState.COMPLETED, chargedBytes: totalBytes(chunks), chargedChunks: 5 });
  const located = await gateway.chunks.locateChunks({ chunkHashes: [...chunkHashes, "0".repeat(64)] });
  expect(located.chunks.map((chunk) => chunk.chunkHash).sort()).toEqual([...chunkHashes].sort());

  const connection = await connectSubscriber(network.natsUrl);
  const streams = ["USERS", "NODES", "CHUNKS", "NODE_HEARTBEATS"];
  const events = (await Promise.all(streams.map((stream) => replay(connection, stream)))).flat();
  await connection.close();
  const about = (keys: string[]) => events.filter((event) => keys.includes(event.key));
  expect(namesOf(about([user.userId]))).toEqual(["UserRegistered"]);
  for (const { nodeId } of nodes) {
    expect(namesOf(about([nodeId]))).toEqual(["NodeHeartbeat", "NodeOnline", "NodeRegistered"]);
  }
  const stored = about(chunkHashes);
  expect(namesOf(stored)).toEqual(Array.from({ length: 10 }, () => "ChunkStored"));
  expect(stored.filter(({ message }) => "reachedQuorum" in message && message.reachedQuorum === true)).toHaveLength(5);
  expect(namesOf(about([uploadId]))).toEqual(["UploadCompleted"]);
  expectContiguousVersions(events.filter((event) => !event.subject.startsWith("decentrastore.node.heartbeat.")));
});

it("reserves a chunk until it is charged, whichever of its uploads lets go of it first", async () => {
  const network = await controlPlane.devFile();
  const user = await registerUser(network);
  const quotas = quotaClientOf(network, user);
  const gateway = await gatewayClients(network);

  const [chunk] = newChunks(1);
  const chunkHashes = [chunk?.chunkHash ?? ""];
  const rest = 10n * 2n ** 30n - 1_000n;
  const others = { sizeBytes: rest, idempotencyKey: "all but one chunk", ttl: { seconds: 3_600n } };
  await gateway.quotas.reserveStorage({ userId: user.userId, ...others });
  const place = (chunks = newChunks(1)) =>
    gateway.chunks.placeChunks({ userId: user.userId, uploadId: randomUUID(), chunks, replicas: 3 });
  const first = await place(chunk && [chunk]);
  const second = await place(chunk && [chunk]);
  expect([first.reservationId === "", second.reservationId]).toEqual([false, ""]);
  await gateway.chunks.releaseChunks({ userId: user.userId, uploadId: first.uploadId, chunkHashes });
  await until("the end of the first upload has arrived", 60_000, async () => {
    const { reservation } = await gateway.quotas.getReservation({ reservationId: first.reservationId });
    return reservation?.state === ReservationState.CLOSING;
  });
  await expect(place()).rejects.toThrow(/quota/);

  for (const { client } of nodes) await client.reportStoredChunks({ chunkHashes });
  await until("the bytes are charged", 60_000, async () => {
    const { quota } = await quotas.getQuota({ userId: user.userId });
    return quota?.storageUsedBytes === 1_000n && quota.storageReservedBytes === rest;
  });
  await expect(place()).rejects.toThrow(/quota/);
});

it("takes a user of the original system over: the old password, the quota and what is used", async () => {
  const network = await controlPlane.devFile();
  const password = "a password from before";
  const file = join(controlPlane.home, "users.db");
  const original = new DatabaseSync(file);
  original.exec(`create table users (
    id INTEGER PRIMARY KEY AUTOINCREMENT, username VARCHAR(80) UNIQUE NOT NULL, email VARCHAR(120) UNIQUE,
    password_hash VARCHAR(255) NOT NULL, salt VARCHAR(32) NOT NULL, storage_used_bytes BIGINT, storage_quota_bytes BIGINT)`);
  original
    .prepare("insert into users values (77, 'Old Hand', 'old@example.com', ?, 'the salt of the files', 4000, 5000)")
    .run(await bcrypt.hash(password, 6));
  original.close();
  const { DATABASE_URL: _, ...env } = process.env;
  const command = ["db/import-sqlite.ts", file];
  const { stdout } = await promisify(execFile)(process.execPath, command, {
    env: { ...env, DECENTRASTORE_HOME: controlPlane.home },
  });
  expect(stdout).toContain("1 read, 1 imported");

  const { user, tokens } = await createClient(AuthService, transportTo(network.authUrl)).login({
    username: "old hand",
    password,
  });
  const userId = "00000000-0000-8000-8000-00000000004d";
  expect(user).toMatchObject({ userId, username: "Old Hand", keySalt: "the salt of the files" });
  const quotas = createClient(UserQuotaService, transportTo(network.userQuotaUrl, tokens?.accessToken));
  await until("the account is open", 60_000, async () => {
    const { quota } = await quotas.getQuota({ userId });
    return quota?.storageUsedBytes === 4_000n && quota.storageQuotaBytes === 5_000n;
  });
  const { ledgerEntries } = await quotas.listLedgerEntries({ userId });
  expect(ledgerEntries).toMatchObject([{ kind: LedgerEntryKind.OPENING, deltaBytes: 4_000n }]);
});

function namesOf(events: readonly ReplayedEvent[]): string[] {
  return events.map((event) => event.message.$typeName.replace("decentrastore.events.v1.", "")).sort();
}

function expectContiguousVersions(events: readonly ReplayedEvent[]): void {
  const last = new Map<string, bigint>();
  for (const event of events) {
    const of = `${event.subject.split(".")[1]} ${event.key}`;
    expect(event.keyVersion, event.subject).toBe((last.get(of) ?? 0n) + 1n);
    last.set(of, event.keyVersion);
  }
}

async function bringOnline(nodes: readonly TestNode[], gateway: Awaited<ReturnType<typeof gatewayClients>>) {
  await Promise.all(nodes.map((node) => node.beat()));
  await until("all nodes are online", 60_000, async () => {
    const seen = await Promise.all(nodes.map(({ nodeId }) => gateway.nodes.getNode({ nodeId })));
    return seen.every(({ node }) => node?.liveness === NodeLiveness.ONLINE && node.isActive);
  });
}
