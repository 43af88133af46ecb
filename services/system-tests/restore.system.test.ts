import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { createClient } from "@connectrpc/connect";
import { afterAll, expect, it } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { NodeLiveness } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import { LedgerEntryKind } from "#gen/decentrastore/user_quota/v1/ledger_entry_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { findSavingServer } from "../../db/testing/saving-server.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../dev/embedded-postgres.ts";
import type { DevFile } from "../dev/start/dev-file.ts";
import { freePort } from "../dev/start/ports.ts";
import { transportTo } from "../dev/upload/session.ts";
import { type ControlPlane, startControlPlane } from "./fixtures/control-plane.ts";
import {
  gatewayClients,
  newChunks,
  registerUser,
  type TestChunk,
  type TestUser,
  totalBytes,
} from "./fixtures/network.ts";
import { connectSubscriber, replay } from "./fixtures/stream-replay.ts";
import { joinNode, type TestNode } from "./fixtures/test-node.ts";
import { persistently, until } from "./fixtures/until.ts";

// The restore drill: everything is lost, JetStream included, and comes back from a backup; then a backup that is older
// than what the outbox still holds.

const folder = createTempFolder();
const home = join(folder.path, "home");
const saving = findSavingServer();
const edgePort = await freePort();
const nodes: TestNode[] = [];
let plane: ControlPlane;
let server: EmbeddedPostgres;
afterAll(async () => {
  await plane?.stop();
  await server?.stop();
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
  await folder[Symbol.asyncDispose]();
}, 120_000);

async function startServer(name: string): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ folder: join(folder.path, name), fsync: false, ...saving });
}

/** An operator's command, on the given database. */
async function command(databaseUrl: string, script: string, ...parameters: readonly string[]): Promise<string> {
  const env = { ...process.env, DATABASE_URL: databaseUrl, DECENTRASTORE_HOME: home };
  return (await promisify(execFile)(process.execPath, [script, ...parameters], { env })).stdout;
}

/** On the same edge port each time: the nodes know it, and go on with their certificates after the restore. */
async function startPlane(): Promise<DevFile> {
  const env = { DATABASE_URL: server.url, NODE_EDGE_PORT: String(edgePort) };
  plane = await startControlPlane({ home, env });
  const network = await plane.devFile();
  if (nodes.length === 0) nodes.push(...(await Promise.all([joinNode(network), joinNode(network), joinNode(network)])));
  const { nodes: directory } = await gatewayClients(network);
  await until("all nodes are online", 60_000, async () => {
    await Promise.all(nodes.map((node) => persistently(() => node.beat())));
    const seen = await Promise.all(nodes.map(({ nodeId }) => directory.getNode({ nodeId })));
    return seen.every(({ node }) => node?.liveness === NodeLiveness.ONLINE);
  });
  return network;
}

/** Four chunks, placed on all three nodes; they become facts when the nodes report them. */
async function place(network: DevFile, user: TestUser) {
  const [uploadId, chunks] = [randomUUID(), newChunks(4)];
  const gateway = await gatewayClients(network);
  await gateway.chunks.placeChunks({ userId: user.userId, uploadId, chunks, replicas: 3 });
  const chunkHashes = chunks.map(({ chunkHash }) => chunkHash);
  const report = () =>
    Promise.all(nodes.map((node) => persistently(() => node.client.reportStoredChunks({ chunkHashes }))));
  return { uploadId, chunks, chunkHashes, report };
}

async function untilCharged(network: DevFile, user: TestUser, ...chunks: readonly (readonly TestChunk[])[]) {
  const bytes = totalBytes(chunks.flat());
  const { quotas } = await gatewayClients(network);
  await until(`${bytes} bytes are charged and nothing is reserved`, 60_000, async () => {
    const { quota } = await quotas.getQuota({ userId: user.userId });
    return quota?.storageReservedBytes === 0n && quota.storageUsedBytes === bytes;
  });
}

async function reconcile(network: DevFile, user: TestUser) {
  const { tokens } = await createClient(AuthService, transportTo(network.authUrl)).login(network.admin);
  const quotas = createClient(UserQuotaService, transportTo(network.userQuotaUrl, tokens?.accessToken));
  return await quotas.reconcileUsage({ userId: user.userId, reason: "restored" });
}

/** What subscribers find in the stream, which is new: every event of the uploads, once, in the order of their versions. */
async function expectEvents(network: DevFile, uploads: readonly Awaited<ReturnType<typeof place>>[]) {
  const connection = await connectSubscriber(network.natsUrl);
  const keys = new Set(uploads.flatMap(({ uploadId, chunks }) => [uploadId, ...chunks.map((one) => one.chunkHash)]));
  const read = async () => (await replay(connection, "CHUNKS")).filter(({ key }) => keys.has(key));
  await until("every event is there", 60_000, async () => (await read()).length >= uploads.length * (3 * 4 + 1));
  const versions = Map.groupBy(await read(), ({ key }) => key);
  await connection.close();
  for (const events of versions.values()) {
    expect(events.map(({ keyVersion }) => keyVersion)).toEqual(events.map((_, index) => BigInt(index + 1)));
  }
}

/** As if the outbox's days were over: what was published is forgotten. */
async function forgetPublished(): Promise<void> {
  const client = await connectClient(server.url, { applicationName: "test" });
  await client.query("delete from node_registry.outbox where published_at is not null");
  await client.end();
}

it("brings everything back, and closes the gap that an old backup leaves", { timeout: 300_000 }, async () => {
  server = await startServer("first");
  if (saving === undefined) {
    await expect(command(server.url, "db/backup.ts")).rejects.toThrow(/pg_dump of version \d+ or newer is needed/);
    return;
  }
  let network = await startPlane();
  const user = await registerUser(network);
  const first = await place(network, user);
  await first.report();
  await untilCharged(network, user, first.chunks);
  const [old, recent] = [join(folder.path, "old"), join(folder.path, "recent")];
  await command(server.url, "db/backup.ts", "--out", old);

  // The ledger hears of the second upload only after the backup: what it lacks lies in the outbox that was saved.
  const second = await place(network, user);
  process.kill(network.pids.userQuota, "SIGSTOP");
  await second.report();
  await command(server.url, "db/backup.ts", "--out", recent);
  process.kill(network.pids.userQuota, "SIGCONT");
  await plane.stop();
  await server.stop();
  await rm(join(home, "nats"), { recursive: true });

  server = await startServer("second");
  await command(server.url, "db/restore.ts", recent);
  await command(server.url, "db/migrate.ts");
  network = await startPlane();
  expect(await command(server.url, "services/dev/events-replay.ts")).toMatch(/node_registry: \d+ events/);
  await untilCharged(network, user, first.chunks, second.chunks);
  await expectEvents(network, [first, second]);
  const gateway = await gatewayClients(network);
  for (const { uploadId, chunkHashes } of [first, second]) {
    expect((await gateway.chunks.getUpload({ uploadId })).upload?.state).toBe(UploadState.COMPLETED);
    expect((await gateway.chunks.locateChunks({ chunkHashes })).chunks).toHaveLength(4);
  }
  expect((await reconcile(network, user)).ledgerEntry).toBeUndefined();

  // The ledger alone goes back to the old backup, and nobody holds the events in between any more.
  await plane.stop();
  await forgetPublished();
  await rm(join(home, "nats"), { recursive: true });
  await command(server.url, "db/restore.ts", old, "--schema", "user_quota", "--force");
  network = await startPlane();
  await command(server.url, "services/dev/events-replay.ts");
  await untilCharged(network, user, first.chunks);
  const other = await registerUser(network);
  const third = await place(network, other);
  await third.report();
  await untilCharged(network, other, third.chunks);
  // Refused while the new stream may still be getting what was published to the old one.
  const { ledgerEntry, quota } = await persistently(() => reconcile(network, user), 120_000);
  expect(ledgerEntry).toMatchObject({ kind: LedgerEntryKind.ADJUSTMENT, deltaBytes: totalBytes(second.chunks) });
  expect(quota?.storageUsedBytes).toBe(totalBytes([...first.chunks, ...second.chunks]));
});
