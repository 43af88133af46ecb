import type { PlaceChunksResponse } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import type { Random } from "#platform/testing/random.ts";
import {
  type Answer,
  type ChunkRecord,
  isAtWork,
  type Refusal,
  type UploadRecord,
  type UserRecord,
} from "../history.ts";
import { between, branch, hexOf, pick, uuidOf } from "../random.ts";
import { askUntilClear, pause } from "./ask.ts";
import { newChunk } from "./load-chunks.ts";
import type { LoadContext } from "./load-context.ts";

/** From the moment at which it was due, placed and reported. */
export const WHOLE_UPLOAD = "upload, from when it was due";
/** Of a paced gateway: beyond this it waits, and is late for what is due meanwhile. */
const MOST_UNDER_WAY = 200;

/** An upload gateway: places, lets the nodes report, and sometimes releases again. Several run side by side. */
export async function runGateway(context: LoadContext): Promise<void> {
  const { history, random, signal, pace } = context;
  const most = pace === undefined ? 8 : MOST_UNDER_WAY;
  const underWay = new Set<Promise<void>>();
  let dueMs = performance.now();
  while (!signal.aborted) {
    const users = history.users.filter(isAtWork);
    if (users.length === 0 || underWay.size > most) {
      await pause(50, signal);
      continue;
    }
    const upload = newUpload(random, pick(random, users));
    history.uploads.push(upload);
    dueMs = pace === undefined ? performance.now() : Math.max(dueMs + pace.intervalMs, pace.fromMs);
    await pause(dueMs - performance.now(), signal);
    const ofUpload = { ...context, random: branch(random) };
    const task = handleUpload(ofUpload, upload, dueMs).finally(() => underWay.delete(task));
    underWay.add(task);
    if (pace === undefined) await pause(between(random, 20, 250), signal);
  }
  await Promise.all(underWay);
}

async function handleUpload(context: LoadContext, first: UploadRecord, dueMs: number): Promise<void> {
  const { random, signal, nodes, history } = context;
  const patience = { tries: 4, pauseMs: 300, signal };
  const { upload, placed } = await sometimesHandOver(context, first, await place(context, first, patience), patience);
  if (placed === undefined) return;
  await reportAll(context, upload, placed, patience);
  history.latencies.push({ rpc: WHOLE_UPLOAD, atMs: Date.now(), tookMs: performance.now() - dueMs });
  const liar = pick(random, [...nodes.values()]);
  if (random() < 0.1) await liar.lie(hexOf(random, 32));
  if (random() < 0.3 && !signal.aborted) await release(context, upload, patience);
}

/**
 * Places the same chunks under a second upload and releases the first one before any node has stored them: the reservation
 * that the first one made has to cover them all the same. Answers the upload to go on with.
 */
async function sometimesHandOver(
  context: LoadContext,
  upload: UploadRecord,
  placed: PlaceChunksResponse | undefined,
  patience: Patience,
) {
  const { random, history } = context;
  if (placed === undefined || random() > 0.1) return { upload, placed };
  const second = uploadOf(random, upload.user, upload.chunks);
  history.uploads.push(second);
  const placedSecond = await place(context, second, patience);
  // Where it is not clear, both are brought to their end when the system is whole.
  if (placedSecond === undefined) return { upload, placed: second.placed === "refused" ? placed : undefined };
  upload.heir = second;
  await release(context, upload, patience);
  return { upload: second, placed: placedSecond };
}

type Patience = Parameters<typeof askUntilClear>[3];
type Context = Pick<LoadContext, "clients" | "history" | "nodes">;

/** Places the upload, or finds out that it is placed: the same call is safe to repeat. */
export async function place(
  { clients, history }: Context,
  upload: UploadRecord,
  patience: Patience,
): Promise<PlaceChunksResponse | undefined> {
  const { userId, uploadId, replicas } = upload;
  const chunks = upload.chunks.map(({ chunkHash, sizeBytes, blockIndex, proofRoot }) => ({
    ...{ chunkHash, sizeBytes, blockIndex },
    ...(proofRoot === undefined ? {} : { proofRoot }),
  }));
  const request = { userId, uploadId, replicas, chunks };
  const outcome = await askUntilClear(history, "PlaceChunks", () => clients.chunks.placeChunks(request), patience);
  // Once acknowledged it stays so, whatever a repeat is answered.
  if (upload.placed !== "acknowledged") upload.placed = outcome.answer;
  if (outcome.answer === "acknowledged") return outcome.value;
  history.quotaComplaints.push(...falseRefusal(outcome.refusal));
  return undefined;
}

/** Every node that has a part of it says so; true when all were heard and took it as stored. */
export async function reportAll(
  { nodes }: Context,
  upload: UploadRecord,
  placed: PlaceChunksResponse,
  patience: Patience,
): Promise<boolean> {
  const contents = new Map(upload.chunks.map((chunk) => [chunk.chunkHash, chunk]));
  const chunksOf = new Map<string, ChunkRecord[]>();
  for (const { chunkHash, nodes: holders } of placed.chunks) {
    const chunk = contents.get(chunkHash);
    if (chunk === undefined) throw new Error(`the placement of ${upload.uploadId} names a chunk of nobody's`);
    for (const { nodeId } of holders) chunksOf.set(nodeId, [...(chunksOf.get(nodeId) ?? []), chunk]);
  }
  const results = await Promise.all(
    [...chunksOf].map(async ([nodeId, chunks]) => {
      for (let attempt = 1; ; attempt += 1) {
        const result = (await nodes.get(nodeId)?.take(chunks)) ?? "refused";
        if (result !== "unknown" || attempt >= patience.tries || patience.signal.aborted) return result;
        await pause(patience.pauseMs, patience.signal);
      }
    }),
  );
  upload.isReported = results.every((result) => result === "stored");
  return upload.isReported;
}

export async function release(
  { clients, history }: Context,
  upload: UploadRecord,
  patience: Patience,
): Promise<Answer> {
  const { userId, uploadId } = upload;
  const request = { userId, uploadId, chunkHashes: upload.chunks.map(({ chunkHash }) => chunkHash) };
  upload.release ??= "unknown"; // from here on it may have happened
  const outcome = await askUntilClear(history, "ReleaseChunks", () => clients.chunks.releaseChunks(request), patience);
  if (upload.release !== "acknowledged") upload.release = outcome.answer;
  return upload.release;
}

function newUpload(random: Random, user: UserRecord): UploadRecord {
  const count = 1 + Math.floor(random() * 4);
  return uploadOf(
    random,
    user,
    Array.from({ length: count }, (_, blockIndex) => newChunk(random, blockIndex)),
  );
}

function uploadOf(random: Random, user: UserRecord, chunks: readonly ChunkRecord[]): UploadRecord {
  return {
    uploadId: uuidOf(random),
    user,
    userId: user.userId ?? "",
    replicas: 3,
    chunks,
    placed: "unknown",
    release: undefined,
    heir: undefined,
    isReported: false,
  };
}

/** A quota refusal must be justified by its own figures. */
export function falseRefusal({ reason, metadata }: Refusal): string[] {
  if (reason !== "QUOTA_EXCEEDED") return [];
  const figure = (name: string) => BigInt(metadata[name] ?? 0);
  const wanted = figure("used_bytes") + figure("reserved_bytes") + figure("asked_bytes");
  return wanted > figure("limit_bytes") ? [] : [`refused with ${JSON.stringify(metadata)}`];
}
