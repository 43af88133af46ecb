import { Code, type MethodImpl } from "@connectrpc/connect";
import type { ChunkService, PlaceChunksRequest } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { passOn } from "#platform/rpc/errors.ts";
import { validate } from "#platform/rpc/validate.ts";
import { findNodes } from "../chunks/endpoints.store.ts";
import { toLocations } from "../chunks/locations.ts";
import { readReferences } from "../chunks/references.store.ts";
import { readReplicas } from "../chunks/replicas.store.ts";
import { uploadCompleted } from "../chunks/upload-ended.event.ts";
import { findUpload, type UploadRow } from "../chunks/uploads.store.ts";
import type { Deps } from "../deps.ts";
import { registryError } from "../errors.ts";
import { failAttempt, readRelaxedRules } from "./attempts.store.ts";
import { type Assignment, beginAttempt, LostRaceError, type PlaceOutcome, placeUpload } from "./place-upload.store.ts";
import type { Placer } from "./placer.ts";
import { refusalError } from "./refusals.ts";
import { insertReturn } from "./reservation-returns.store.ts";
import { giveBack, type Reserved, reserve, settleReturn } from "./reservations.worker.ts";
import { toProtoRules } from "./rules.ts";
import { fingerprintOf, type UploadContent } from "./upload-content.ts";

const MAX_ROUNDS = 10;
const MAX_CHUNK_BYTES = 64n * 1024n * 1024n;
const MAX_UNPROVABLE_BYTES = 2n * 1024n * 1024n;

export interface PlacementDeps extends Deps {
  readonly placer: Placer;
}

/**
 * Two transactions with a reservation at user-quota between them (design 7.3). Any number of calls with one upload_id
 * help each other instead of waiting: they share the attempt's reservation key, and the upload's row lets one of them
 * place. What a crash leaves is finished by the next call or by the sweeper.
 */
export function placeChunks(deps: PlacementDeps): MethodImpl<typeof ChunkService.method.placeChunks> {
  return async (request) => {
    const content = parse(request);
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const placed = await placeOnce(deps, content);
      if (placed === undefined) continue;
      const nodes = await findNodes(
        deps,
        placed.replicas.map((replica) => replica.nodeRowId),
      );
      return {
        uploadId: content.uploadId,
        reservationId: placed.upload.reservation_id ?? "",
        chunks: toLocations(hashesOf(content), placed.replicas, nodes),
        relaxedRules: toProtoRules(placed.relaxed),
      };
    }
    throw registryError(Code.Aborted, "PLACEMENT_IN_PROGRESS", "other calls place the same upload or its chunks", {
      retryAfterMs: 200,
    });
  };
}

interface PlacedNow {
  readonly upload: UploadRow;
  readonly replicas: readonly Pick<Assignment, "chunkHash" | "nodeRowId">[];
  readonly relaxed: Extract<PlaceOutcome, { step: "placed" }>["relaxed"];
}

/** One round; undefined where what it saw has changed and the next one must look again. */
async function placeOnce(deps: PlacementDeps, content: UploadContent): Promise<PlacedNow | undefined> {
  const hasEnoughNodes = (largestBytes: number) => deps.placer.hasEligible(largestBytes, content.replicas);
  const begun = await deps.pool.transaction((tx) =>
    beginAttempt(tx, content, { now: deps.clock.now(), hasEnoughNodes }),
  );
  switch (begun.step) {
    case "placed": {
      const relaxed = await readRelaxedRules(deps.pool, content.uploadId);
      return { upload: begun.upload, replicas: await countingReplicas(deps, content), relaxed };
    }
    case "mismatch":
      throw registryError(Code.AlreadyExists, "UPLOAD_MISMATCH", "this upload_id is in use with other content");
    case "expired":
      throw registryError(
        Code.FailedPrecondition,
        "UPLOAD_EXPIRED",
        "the upload has expired: place its chunks under a new upload_id",
      );
    case "refused":
      throw refusalError(begun.refusal, content);
    case "again":
      return undefined;
    case "reserving": {
      const { attempt, newBytes } = begun;
      const key = { uploadId: content.uploadId, attempt };
      if (newBytes === 0n) return finish(deps, content, { attempt, newBytes, reservationId: null });
      const reserved = await reserve(deps, key, { userId: content.userId, sizeBytes: newBytes });
      if (reserved.kind === "held") {
        return finish(deps, content, { attempt, newBytes, reservationId: reserved.reservationId });
      }
      return notReserved(deps, content, { ...key, newBytes }, reserved);
    }
  }
}

async function notReserved(
  deps: PlacementDeps,
  content: UploadContent,
  { uploadId, attempt, newBytes }: { uploadId: string; attempt: number; newBytes: bigint },
  reserved: Exclude<Reserved, { kind: "held" }>,
): Promise<undefined> {
  await deps.pool.transaction(async (tx) => {
    const now = deps.clock.now();
    await failAttempt(tx, { uploadId, attempt }, now);
    if (reserved.kind !== "unknown") return;
    // Another call may have ended the attempt before, because user-quota refused it: then nobody else knows of this one.
    const upload = await findUpload(tx, uploadId);
    if (upload?.attempt === attempt) return;
    const owed = { uploadId, attempt, userId: content.userId, sizeBytes: newBytes, reservationId: null };
    // Not before the unanswered call itself must be over.
    await insertReturn(tx, owed, now.add({ seconds: 15 }));
  });
  if (reserved.kind === "used_up") return undefined;
  throw passOn(reserved.error);
}

interface Attempt {
  readonly attempt: number;
  readonly newBytes: bigint;
  readonly reservationId: string | null;
}

async function finish(deps: PlacementDeps, content: UploadContent, attempt: Attempt): Promise<PlacedNow | undefined> {
  const outcome = await runPlacement(deps, content, attempt);
  if (outcome.step === "placed") {
    for (const { nodeRowId, sizeBytes } of outcome.made) deps.placer.assigned(nodeRowId, Number(sizeBytes));
    const isWhole = outcome.made.length === content.chunks.length * content.replicas;
    return {
      upload: outcome.upload,
      replicas: isWhole ? outcome.made : await countingReplicas(deps, content),
      relaxed: outcome.relaxed,
    };
  }
  const isUsed = outcome.step === "stale" && outcome.isReservationUsed;
  if (attempt.reservationId !== null && !isUsed) {
    // Written down already where this call has ended the attempt.
    const giveItBack = outcome.step === "stale" ? giveBack : settleReturn;
    await giveItBack(deps, owedFor(content, attempt));
  }
  if (outcome.step === "refused") throw refusalError(outcome.refusal, content);
  return undefined;
}

function owedFor({ uploadId, userId }: UploadContent, { attempt, newBytes, reservationId }: Attempt) {
  return { uploadId, attempt, userId, sizeBytes: newBytes, reservationId };
}

async function runPlacement(deps: PlacementDeps, content: UploadContent, attempt: Attempt): Promise<PlaceOutcome> {
  try {
    return await transact(deps, async (tx) => {
      const now = deps.clock.now();
      const expiresAt = now.add({ hours: 24 });
      const firstProofWithinMs = deps.config.PROOF_FIRST_WITHIN;
      const terms = { ...attempt, now, expiresAt, firstProofWithinMs, place: deps.placer.place };
      const outcome = await placeUpload(tx, content, terms);
      if (outcome.step === "refused" || outcome.step === "changed") {
        await failAttempt(tx, { uploadId: content.uploadId, attempt: attempt.attempt }, now);
        // With the attempt ends the sweeper's memory of it, so what it holds is owed from the same commit on.
        if (attempt.reservationId !== null) await insertReturn(tx, owedFor(content, attempt), now.add({ seconds: 5 }));
      } else if (outcome.step === "placed" && outcome.upload.state === "completed") {
        await deps.outbox.append(tx, [uploadCompleted(deps.clock, outcome.upload)]);
      }
      return outcome;
    });
  } catch (error) {
    // At once, and with what is held: another call may end the attempt meanwhile, and knows nothing of this reservation.
    if (error instanceof LostRaceError) return runPlacement(deps, content, attempt);
    throw error;
  }
}

/** Without chunks that the upload has released: they may be another user's by now. */
async function countingReplicas(deps: PlacementDeps, { uploadId }: UploadContent) {
  const references = await readReferences(deps.pool, uploadId);
  const replicas = await readReplicas(
    deps.pool,
    references.map((reference) => reference.chunkHash),
  );
  return replicas.filter((replica) => replica.state !== "lost");
}

function hashesOf(content: UploadContent): string[] {
  return content.chunks.map((chunk) => chunk.chunkHash);
}

function parse(request: PlaceChunksRequest): UploadContent {
  validate((check) => {
    check.uuid("user_id", request.userId);
    check.uuid("upload_id", request.uploadId);
    check.int("replicas", request.replicas, { min: 0, max: 10 });
    check.count("chunks", request.chunks, { min: 1, max: 1_000 });
    const seen = new Set<string>();
    request.chunks.slice(0, 1_000).forEach((chunk, index) => {
      const path = `chunks[${index}]`;
      check.hash(`${path}.chunk_hash`, chunk.chunkHash);
      if (seen.has(chunk.chunkHash)) check.fail(`${path}.chunk_hash`, "must be named once");
      seen.add(chunk.chunkHash);
      check.int(`${path}.size_bytes`, chunk.sizeBytes, { min: 1n, max: MAX_CHUNK_BYTES });
      check.int(`${path}.block_index`, chunk.blockIndex, { min: 0 });
      if (chunk.proofRoot !== undefined) check.hash(`${path}.proof_root`, chunk.proofRoot);
      else if (chunk.sizeBytes > MAX_UNPROVABLE_BYTES) {
        check.fail(`${path}.proof_root`, "is required for chunks of more than 2 MiB");
      }
    });
  });
  const content = {
    userId: request.userId.toLowerCase(),
    uploadId: request.uploadId.toLowerCase(),
    replicas: request.replicas === 0 ? 3 : request.replicas,
    chunks: request.chunks.map((chunk) => ({
      chunkHash: chunk.chunkHash,
      sizeBytes: chunk.sizeBytes,
      blockIndex: chunk.blockIndex,
      proofRoot: chunk.proofRoot ?? null,
    })),
  };
  return { ...content, fingerprint: fingerprintOf(content) };
}
