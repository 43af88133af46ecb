import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@connectrpc/connect";
import type { FetchChunk, NodeCommand, ProveChunk } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import type { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import type { ChunkStore, StoredChunk } from "./chunk-store.ts";
import { bucketSums, digestBytes } from "./digest.ts";
import { drop, type Holdings } from "./holdings.ts";
import { leavesOf, proofPath } from "./merkle.ts";

export interface CommandOptions {
  readonly client: () => Client<typeof NodeService>;
  readonly store: ChunkStore;
  readonly holdings: Holdings;
  readonly onStored: (chunk: StoredChunk) => void;
  /** Before chunks are deleted: see the reporter. */
  readonly withdraw: (hashes: readonly string[]) => Promise<void>;
  readonly renewCertificate: () => Promise<void>;
  /** For trying out what becomes of a node that proves too late. */
  readonly proofDelayMs: number;
  readonly say: (line: string) => void;
}

interface CommandContext extends CommandOptions {
  /** Nothing is deleted between listing what is held and the answer to it. */
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
}

/**
 * Carries out what the registry asks for. It repeats a command until its effect is reported, so a failure here is only
 * said, and a command that is still being carried out is not begun twice.
 */
export function createCommandRunner(options: CommandOptions): (commands: readonly NodeCommand[]) => void {
  const context = { ...options, inTurn: createTurns() };
  const underWay = new Set<string>();
  return (commands) => {
    for (const command of commands) {
      if (underWay.has(command.commandId)) continue;
      underWay.add(command.commandId);
      carryOut(context, command)
        .catch((error: unknown) => {
          context.say(`${command.command.case ?? "command"} failed: ${error instanceof Error ? error.message : error}`);
        })
        .finally(() => underWay.delete(command.commandId));
    }
  };
}

async function carryOut(context: CommandContext, { commandId, command }: NodeCommand): Promise<void> {
  switch (command.case) {
    case "deleteChunks":
      return await deleteChunks(context, command.value.chunkHashes);
    case "proveChunk":
      return await prove(context, commandId, command.value);
    case "fetchChunk":
      return await fetchChunk(context, command.value);
    case "reportChunks":
      return await reportChunks(context, command.value.buckets);
    case "renewCertificate":
      return await context.renewCertificate();
    default:
      return; // drain: nothing to do but to go on serving; anything newer than this node: the registry will see
  }
}

async function deleteChunks(context: CommandContext, hashes: readonly string[]): Promise<void> {
  await context.inTurn(async () => {
    await context.withdraw(hashes);
    for (const hash of hashes) await drop(context.store, context.holdings, hash);
  });
  await context.client().reportDeletedChunks({ chunkHashes: [...hashes] });
}

async function prove(context: CommandContext, commandId: string, command: ProveChunk): Promise<void> {
  const stored = await context.store.read(command.chunkHash);
  if (stored === undefined) {
    await context.client().reportLostChunks({ chunkHashes: [command.chunkHash] });
    return;
  }
  const chunk = new Uint8Array(await buffer(stored.stream));
  const leaves = leavesOf(chunk);
  const index = command.leafIndex;
  const leaf = index === undefined ? undefined : leaves[index];
  if (context.proofDelayMs > 0) await sleep(context.proofDelayMs, undefined, { ref: false });
  await context.client().submitStorageProof({
    commandId,
    chunkHash: command.chunkHash,
    nonce: command.nonce,
    proof:
      index === undefined || leaf === undefined
        ? { case: "chunk", value: chunk }
        : { case: "merkleProof", value: { leaf, path: proofPath(leaves, index) } },
  });
}

async function fetchChunk(context: CommandContext, command: FetchChunk): Promise<void> {
  const stored = await context.store.read(command.chunkHash);
  if (stored !== undefined) {
    // Fetched already: the command was on its way while that was reported. Never call lost what is here.
    stored.stream.destroy();
    return context.onStored({ hash: command.chunkHash, size: stored.size });
  }
  for (const { address } of command.sources) {
    if (address === undefined) continue;
    const host = address.host.includes(":") ? `[${address.host}]` : address.host;
    const response = await fetch(`http://${host}:${address.port}/chunks/${command.chunkHash}`).catch(() => undefined);
    if (response?.ok !== true || response.body === null) continue;
    const result = await context.store.put(command.chunkHash, Readable.fromWeb(response.body));
    if (result.kind === "stored") return context.onStored({ hash: command.chunkHash, size: result.size });
  }
  await context.client().reportLostChunks({ chunkHashes: [command.chunkHash] }); // no source has it
}

async function reportChunks(context: CommandContext, asked: readonly number[]): Promise<void> {
  const digests = () => bucketSums(context.holdings.hashes()).map(digestBytes);
  const buckets =
    asked.length > 0 ? asked : (await context.client().reportChunkDigests({ digests: digests() })).buckets;
  for (const bucket of buckets) {
    const { missingChunkHashes } = await context.inTurn(() =>
      context.client().reportBucket({ bucket, chunkHashes: context.holdings.hashesOf(bucket) }),
    );
    const lost: string[] = [];
    for (const hash of missingChunkHashes) {
      const stored = await context.store.read(hash);
      stored?.stream.destroy();
      if (stored === undefined) lost.push(hash);
      else context.onStored({ hash, size: stored.size });
    }
    if (lost.length > 0) await context.client().reportLostChunks({ chunkHashes: lost });
  }
}

/** One piece of work after the other. */
function createTurns(): CommandContext["inTurn"] {
  let latest: Promise<unknown> = Promise.resolve();
  return (work) => {
    const mine = latest.then(work);
    latest = Promise.allSettled([mine]);
    return mine;
  };
}
