import { randomUUID } from "node:crypto";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UserDeletedSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { NodeService, StoredChunkResult as Result } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { connectNats } from "#platform/nats/connect.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox, newEvent, transact } from "#platform/outbox/outbox.ts";
import { startRelay } from "#platform/outbox/relay.worker.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "#platform/testing/test-database.ts";
import { createTestIssuer, type TestIssuer } from "#platform/testing/test-issuer.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { systemClock } from "#platform/time/clock.ts";
import { newChunks } from "../testing/chunk-fixture.ts";
import { contradictions } from "../testing/chunk-truth.ts";
import { type Neighbours, serveNeighbours } from "../testing/neighbours.ts";
import { createQuotaStub, type QuotaStub } from "../testing/quota-stub.ts";
import type { TestNode } from "../testing/registry-clients.ts";
import { type RegistryProcess, startRegistryProcess } from "../testing/registry-process.ts";

// Real registry processes with two nodes over mutual TLS; auth and user-quota are stand-ins on real ports.

let db: TestDatabase;
let nats: TestNats;
let issuer: TestIssuer;
let quota: QuotaStub;
let neighbours: Neighbours;
let registry: RegistryProcess;
let nodes: TestNode[];

beforeAll(async () => {
  [db, nats, issuer] = await Promise.all([createTestDatabase(), startTestNats(), createTestIssuer()]);
  quota = createQuotaStub();
  neighbours = await serveNeighbours(issuer, quota);
  registry = await startRegistry();
  nodes = [await registry.enroll({ region: "eu" }), await registry.enroll({ region: "us" })];
  for (const node of nodes) await beat(node);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await neighbours[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
  await db[Symbol.asyncDispose]();
});

const encryptionKey = Buffer.alloc(32, 1).toString("base64");

function startRegistry(): Promise<RegistryProcess> {
  return startRegistryProcess({ db, nats, issuer, encryptionKey }, neighbours.authUrl, {
    USER_QUOTA_URL: neighbours.quotaUrl,
  });
}

async function chunkClient(
  scopes = ["chunks.read", "chunks.write", "usage.read"],
): Promise<Client<typeof ChunkService>> {
  const authorization = scopes.length === 0 ? "" : await issuer.service("gateway", scopes);
  const transport = createConnectTransport({
    baseUrl: registry.url,
    httpVersion: "2",
    interceptors: [
      (next) => (request) => {
        if (authorization !== "") request.header.set("Authorization", authorization);
        return next(request);
      },
    ],
  });
  return createClient(ChunkService, transport);
}

async function beat(node: TestNode) {
  using client = node.connect(registry.edgeAddress);
  return await client.unary(NodeService.method.heartbeat, {
    sequence: 1n,
    usedBytes: 0n,
    freeBytes: 2n ** 36n,
    chunkCount: 0n,
  });
}

async function reportStored(nodeId: string, chunkHashes: string[]): Promise<Result[]> {
  const node = nodes.find((candidate) => candidate.nodeId === nodeId);
  if (node === undefined) throw new Error(`no node ${nodeId}`);
  using client = node.connect(registry.edgeAddress);
  return (await client.unary(NodeService.method.reportStoredChunks, { chunkHashes })).results;
}

/** Tries until it holds: what comes by events and sweeps comes when it comes. */
async function eventually(check: () => Promise<void>): Promise<void> {
  for (const startedAt = performance.now(); ; ) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() - startedAt > 15_000) throw error;
      await systemClock.sleep(100);
    }
  }
}

const newUpload = (count = 3) => ({
  userId: randomUUID(),
  uploadId: randomUUID(),
  chunks: newChunks(count),
  replicas: 2,
});

test("an upload over the wire: placed by the gateway, confirmed by its nodes, refused to strangers", async () => {
  const chunks = await chunkClient();
  const upload = newUpload();
  await eventually(async () => {
    const placed = await chunks.placeChunks(upload);
    expect(placed.chunks.map((chunk) => chunk.nodes.length)).toEqual([2, 2, 2]);
  });
  const hashes = upload.chunks.map((chunk) => chunk.chunkHash);
  const [first, second] = nodes;
  if (first === undefined || second === undefined) throw new Error("no nodes");
  expect(await reportStored(first.nodeId, hashes)).toEqual(Array(3).fill(Result.CONFIRMED));
  expect(await reportStored(first.nodeId, hashes)).toEqual(Array(3).fill(Result.ALREADY_CONFIRMED));
  const twice = [...hashes, ...hashes.slice(0, 1)];
  expect(await reportStored(second.nodeId, twice)).toEqual([
    ...Array(3).fill(Result.CONFIRMED),
    Result.ALREADY_CONFIRMED,
  ]);
  expect((await chunks.getUpload(upload)).upload).toMatchObject({ state: UploadState.COMPLETED, chargedBytes: 3_000n });
  const stranger = await registry.enroll();
  nodes.push(stranger);
  expect(await reportStored(stranger.nodeId, hashes)).toEqual(Array(3).fill(Result.NOT_PLACED));
  const reasons: string[] = [];
  for (const scopes of [[], ["chunks.read"]]) {
    const error = await (await chunkClient(scopes)).placeChunks(newUpload()).catch((failure: unknown) => failure);
    reasons.push(ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason ?? "");
  }
  expect(reasons).toEqual(["TOKEN_MISSING", "ACCESS_DENIED"]);
});

test("kill -9 between reservation and placement: the retry at the next process places once and holds one reservation", async () => {
  const upload = newUpload();
  const reached = Promise.withResolvers<void>();
  quota.onReserve = () => {
    reached.resolve();
    return new Promise(() => {});
  };
  const interrupted = (await chunkClient())
    .placeChunks(upload)
    .catch((error: unknown) => ConnectError.from(error).code);
  await reached.promise;
  await registry.kill();
  expect([Code.Unavailable, Code.Aborted, Code.Internal, Code.Canceled]).toContain(await interrupted);
  quota.onReserve = () => {};
  registry = await startRegistry();
  for (const node of nodes) await beat(node);
  const chunks = await chunkClient();
  await eventually(async () => {
    expect((await chunks.placeChunks(upload)).chunks).toHaveLength(3);
  });
  expect(quota.held(upload.userId)).toBe(3_000n);
  expect(quota.reservations.filter(({ userId }) => userId === upload.userId)).toHaveLength(1);
  const pool = await db.pool("node_registry");
  expect(await contradictions(pool)).toEqual([]);
});

test("user.deleted ends the user's uploads, refunds, and tells the nodes to delete until they confirm", async () => {
  const chunks = await chunkClient();
  const [kept, gone] = [newUpload(2), newUpload(2)];
  const open = { ...newUpload(1), userId: gone.userId };
  for (const upload of [kept, gone, open]) await eventually(async () => void (await chunks.placeChunks(upload)));
  for (const upload of [kept, gone]) {
    for (const { chunkHash, nodes: at } of (await chunks.placeChunks(upload)).chunks) {
      for (const { nodeId } of at) await reportStored(nodeId, [chunkHash]);
    }
  }
  expect((await chunks.getUserUsage(gone)).chargedChunks).toBe(2);
  await using auth = await publishUserDeleted(gone.userId);
  await eventually(async () => {
    expect((await chunks.getUserUsage(gone)).chargedChunks).toBe(0);
    expect((await chunks.getUpload(open)).upload?.state).toBe(UploadState.EXPIRED);
  });
  expect((await chunks.getUserUsage(kept)).chargedChunks).toBe(2);
  expect(auth.subject).toContain(gone.userId);
  for (const node of nodes) {
    await eventually(async () => {
      const { commands } = await beat(node);
      const deletions = commands.flatMap(({ command }) =>
        command.case === "deleteChunks" ? command.value.chunkHashes : [],
      );
      if (deletions.length > 0) {
        using client = node.connect(registry.edgeAddress);
        await client.unary(NodeService.method.reportDeletedChunks, { chunkHashes: deletions });
      }
      expect(deletions).toEqual([]);
    });
  }
  const pool = await db.pool("node_registry");
  expect(await contradictions(pool)).toEqual([]);
});

/** As auth tells it: through its own outbox and relay. */
async function publishUserDeleted(userId: string) {
  const log = createTestLogger("auth");
  const connection = await connectNats({ url: nats.url("auth"), name: "auth", log });
  const pool = await db.pool("auth");
  const outbox = createOutbox("auth");
  const signal = new AbortController().signal;
  const shared = { pool, clock: systemClock, log, metrics: createMetrics("auth"), signal };
  const relay = startRelay({ ...shared, schema: "auth", nats: connection, streams: ["USERS"], outbox });
  const subject = `decentrastore.user.deleted.${userId}`;
  const at = { subject, key: userId, keyVersion: 1n, clock: systemClock };
  await transact({ pool, outbox }, (tx) => outbox.append(tx, [newEvent(UserDeletedSchema, at, { userId })]));
  return {
    subject,
    [Symbol.asyncDispose]: async () => {
      await relay[Symbol.asyncDispose]();
      await connection[Symbol.asyncDispose]();
    },
  };
}
