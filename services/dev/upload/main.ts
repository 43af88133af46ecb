import { randomUUID } from "node:crypto";
import { stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, ConnectError, createClient } from "@connectrpc/connect";
import { Command } from "commander";
import type { ChunkLocation } from "#gen/decentrastore/node_registry/v1/chunk_pb.ts";
import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { UploadState } from "#gen/decentrastore/node_registry/v1/upload_pb.ts";
import type { Quota } from "#gen/decentrastore/user_quota/v1/quota_pb.ts";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { proofRoot } from "../sample-node/merkle.ts";
import { readDevFile } from "../start/dev-file.ts";
import { batchesOf, type Chunk, cutFile, readChunk } from "./chunker.ts";
import { gatewayToken, signIn, transportTo } from "./session.ts";
import { type Assignment, type FailedTransfer, sendChunks } from "./transfer.ts";

// `npm run dev:upload -- FILE`: what a client and its gateway do together, against the local network.

const command = new Command("dev:upload")
  .description("Stores a file on the local network: cuts it, places the chunks, sends them to the nodes.")
  .argument("<file>")
  .option("--username <name>", "registered when new", "demo")
  .option("--password <password>", "default: made for the demo user and kept in the home folder")
  .option("--replicas <n>", "replicas of each chunk, 1 to 10", Number, 3)
  .parse();
const options = command.opts<{ username: string; password?: string; replicas: number }>();
const path = command.args[0] ?? "";

const sendRounds = 3;
const settleMs = 30_000;

try {
  await upload();
} catch (error) {
  process.stderr.write(
    `${error instanceof ConnectError ? error.message : error instanceof Error ? error.message : error}\n`,
  );
  process.exitCode = 1;
}

async function upload(): Promise<void> {
  const network = await readDevFile(process.env);
  const fileBytes = (await stat(path)).size;
  const chunks = await cutFile(path);
  const session = await signIn(network, options.username, options.password);
  const quotas = createClient(UserQuotaService, transportTo(network.userQuotaUrl, session.userToken));
  const registry = createClient(ChunkService, transportTo(network.nodeRegistryUrl, await gatewayToken(network)));

  const before = (await quotas.getQuota({ userId: session.userId })).quota;
  say(`${path}: ${fileBytes} bytes in ${chunks.length} chunks, for user ${options.username} (${session.userId})`);
  say(`before: ${describe(before)}`);
  for (const batch of batchesOf(chunks)) await uploadBatch(registry, session.userId, batch.chunks);
  const after = await settledQuota(async () => (await quotas.getQuota({ userId: session.userId })).quota);
  say(`after:  ${describe(after)}`);
}

async function uploadBatch(registry: Client<typeof ChunkService>, userId: string, chunks: Chunk[]): Promise<void> {
  const uploadId = randomUUID();
  const placed = await registry.placeChunks({
    userId,
    uploadId,
    replicas: options.replicas,
    chunks: await Promise.all(
      chunks.map(async (chunk) => ({
        chunkHash: chunk.hash,
        sizeBytes: BigInt(chunk.sizeBytes),
        blockIndex: chunk.blockIndex,
        proofRoot: proofRoot(await readChunk(path, chunk)),
      })),
    ),
  });
  let failures = await sendChunks(path, assignmentsOf(chunks, placed.chunks));
  for (let round = 1; failures.length > 0 && round < sendRounds; round += 1) {
    for (const failure of failures)
      say(`${failure.hash.slice(0, 12)} to ${failure.nodeId.slice(0, 12)}: ${failure.reason}`);
    const replaced = await registry.replaceNodes({ uploadId, replacements: failures.map(toReplacement) });
    failures = await sendChunks(path, assignmentsOf(chunks, replaced.chunks));
  }
  await untilCompleted(registry, uploadId);
}

function toReplacement(failure: FailedTransfer) {
  return { chunkHash: failure.hash, failedNodeId: failure.nodeId };
}

function assignmentsOf(chunks: readonly Chunk[], locations: readonly ChunkLocation[]): Assignment[] {
  const byHash = new Map(chunks.map((chunk) => [chunk.hash, chunk]));
  return locations.flatMap((location) => {
    const chunk = byHash.get(location.chunkHash);
    const targets = location.nodes.flatMap(({ nodeId, address }) =>
      address === undefined ? [] : [{ nodeId, url: `http://${urlHost(address.host)}:${address.port}` }],
    );
    return chunk === undefined ? [] : [{ chunk, targets }];
  });
}

function urlHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

async function untilCompleted(registry: Client<typeof ChunkService>, uploadId: string): Promise<void> {
  for (let waited = 0; waited < settleMs; waited += 100) {
    const { upload: state } = await registry.getUpload({ uploadId });
    if (state?.state === UploadState.COMPLETED) return say(`upload ${uploadId} is complete`);
    await sleep(100);
  }
  say(`upload ${uploadId} is not complete yet: the nodes go on reporting`);
}

/** The charge follows the nodes' reports by events; this waits until nothing is reserved any more. */
async function settledQuota(read: () => Promise<Quota | undefined>): Promise<Quota | undefined> {
  for (let waited = 0; waited < settleMs; waited += 100) {
    const quota = await read();
    if (quota?.storageReservedBytes === 0n) return quota;
    await sleep(100);
  }
  return await read();
}

function describe(quota: Quota | undefined): string {
  if (quota === undefined) return "no account";
  return `${quota.storageUsedBytes} bytes used, ${quota.storageReservedBytes} reserved, of ${quota.storageQuotaBytes}`;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
