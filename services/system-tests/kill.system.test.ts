import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { NodeLiveness } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { type ControlPlane, type ProcessName, startControlPlane } from "./fixtures/control-plane.ts";
import {
  gatewayClients,
  newChunks,
  quotaClientOf,
  registerUser,
  type TestChunk,
  type TestUser,
  totalBytes,
} from "./fixtures/network.ts";
import { connectSubscriber, replay } from "./fixtures/stream-replay.ts";
import { joinNode, type TestNode } from "./fixtures/test-node.ts";
import { persistently, until } from "./fixtures/until.ts";

// kill -9 of one process after the other while uploads run: whatever was acknowledged is there afterwards, once.

let controlPlane: ControlPlane;
beforeAll(async () => {
  controlPlane = await startControlPlane();
}, 120_000);
afterAll(() => controlPlane[Symbol.asyncDispose](), 120_000);

interface Uploaded {
  readonly uploadId: string;
  readonly chunks: readonly TestChunk[];
}

const victims: readonly ProcessName[] = ["userQuota", "nodeRegistry", "nats", "postgres", "auth"];

it("loses and doubles nothing when any process is killed in the middle of uploads", { timeout: 180_000 }, async () => {
  const network = await controlPlane.devFile();
  const user = await registerUser(network);
  await quotaClientOf(network, user).getQuota({ userId: user.userId });
  const nodes = await Promise.all([joinNode(network), joinNode(network), joinNode(network)]);
  await Promise.all(nodes.map((node) => node.beat()));
  const { nodes: directory } = await gatewayClients(network);
  await until("all nodes are online", 60_000, async () => {
    const seen = await Promise.all(nodes.map(({ nodeId }) => directory.getNode({ nodeId })));
    return seen.every(({ node }) => node?.liveness === NodeLiveness.ONLINE);
  });

  const stop = new AbortController();
  const uploads: Uploaded[] = [];
  const beating = beatUntil(nodes, stop.signal);
  const uploading = uploadUntil(controlPlane, user, nodes, uploads, stop.signal);
  for (const victim of victims) {
    const before = uploads.length;
    await until("uploads are running", 60_000, () => uploads.length >= before + 2);
    await controlPlane.kill(victim);
  }
  const before = uploads.length;
  await until("uploads run again", 60_000, () => uploads.length >= before + 2);
  stop.abort();
  await Promise.all([beating, uploading]);

  const expected = uploads.reduce((sum, upload) => sum + totalBytes(upload.chunks), 0n);
  const { chunks, quotas } = await gatewayClients(network);
  await until(`${expected} bytes are charged and nothing is reserved`, 60_000, async () => {
    const { quota } = await persistently(() => quotas.getQuota({ userId: user.userId }));
    return quota?.storageUsedBytes === expected && quota.storageReservedBytes === 0n;
  });
  for (const { uploadId } of uploads) {
    const { upload } = await chunks.getUpload({ uploadId });
    expect(upload?.state).toBe(UploadState.COMPLETED);
  }
  await expectEveryEvent(network.natsUrl, uploads);
  for (const node of nodes) {
    const { node: seen } = await directory.getNode({ nodeId: node.nodeId });
    expect(seen?.liveness).toBe(NodeLiveness.ONLINE);
    await node[Symbol.asyncDispose]();
  }
});

async function beatUntil(nodes: readonly TestNode[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await Promise.all(nodes.map((node) => node.beat().catch(() => {}))); // the registry may be the one that is down
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** One upload after the other, each repeated under its own id until it is acknowledged. */
async function uploadUntil(
  plane: ControlPlane,
  user: TestUser,
  nodes: readonly TestNode[],
  uploads: Uploaded[],
  signal: AbortSignal,
): Promise<void> {
  const network = await plane.devFile();
  const gateway = await gatewayClients(network);
  while (!signal.aborted) {
    const upload = { uploadId: randomUUID(), chunks: newChunks(4) };
    const request = { userId: user.userId, uploadId: upload.uploadId, chunks: [...upload.chunks], replicas: 3 };
    await persistently(() => gateway.chunks.placeChunks(request), 60_000);
    const chunkHashes = upload.chunks.map((chunk) => chunk.chunkHash);
    await Promise.all(nodes.map((node) => persistently(() => node.client.reportStoredChunks({ chunkHashes }), 60_000)));
    uploads.push(upload);
  }
}

async function expectEveryEvent(natsUrl: string, uploads: readonly Uploaded[]): Promise<void> {
  const connection = await connectSubscriber(natsUrl);
  let missing: string[] = [];
  await until("every event is published", 60_000, async () => {
    const events = await replay(connection, "CHUNKS");
    const stored = new Set(events.filter(({ subject }) => subject.includes(".chunk.stored.")).map(({ key }) => key));
    const completed = new Set(events.filter(({ subject }) => subject.includes(".upload.")).map(({ key }) => key));
    const chunkHashes = uploads.flatMap(({ chunks }) => chunks.map((chunk) => chunk.chunkHash));
    missing = [
      ...chunkHashes.filter((hash) => !stored.has(hash)),
      ...uploads.map(({ uploadId }) => uploadId).filter((id) => !completed.has(id)),
    ];
    return missing.length === 0;
  }).catch((cause: unknown) => {
    throw new Error(`events are missing for ${missing.join(", ")}`, { cause });
  });
  await connection.close();
}
