import { Code, type MethodImpl } from "@connectrpc/connect";
import { z } from "zod";
import type { ChunkService, ExplainPlacementRequest } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { nextPageToken, pageOf } from "#platform/rpc/paging.ts";
import { validate } from "#platform/rpc/validate.ts";
import { readChunks } from "../chunks/chunks.store.ts";
import { readPendingDeletions } from "../chunks/deletions.store.ts";
import { readReplicas } from "../chunks/replicas.store.ts";
import { findNode } from "../directory/calling-node.worker.ts";
import { registryError } from "../errors.ts";
import { type Explained, explainCandidates, type PlacementQuestion } from "./explanation.ts";
import type { PlacementDeps } from "./place-chunks.rpc.ts";

const MAX_CHUNK_BYTES = 64n * 1024n * 1024n;
const zCursor = z.string().regex(/^[0-9a-f]{64}$/);

export function explainPlacement(deps: PlacementDeps): MethodImpl<typeof ChunkService.method.explainPlacement> {
  return async (request) => {
    check(request);
    const { limit, after } = pageOf(request, zCursor);
    // It may have enrolled a moment ago on another process: the view knows it from here on.
    if (request.nodeId !== "") await findNode(deps, request.nodeId);
    const question = await questionOf(deps, request);
    const explanation = explainCandidates(deps.view.candidates(), question, deps.placer.assignedBytesOf);
    const asked =
      request.nodeId === ""
        ? explanation.candidates
        : explanation.candidates.filter((candidate) => candidate.nodeId === request.nodeId);
    if (request.nodeId !== "" && asked.length === 0) {
      throw registryError(Code.NotFound, "NODE_NOT_FOUND", "no node of the network has this node_id");
    }
    const page = asked.filter((candidate) => after === undefined || candidate.nodeId > after).slice(0, limit);
    return {
      candidates: page.map(toProto),
      nextPageToken: nextPageToken(page, limit, (last) => last.nodeId),
      eligibleNodes: explanation.eligibleNodes,
      isPlaceable: explanation.isPlaceable,
      relaxedRules: [...explanation.relaxed],
    };
  };
}

/** A known chunk brings its size, its replicas and the deletions that nodes have not confirmed. */
async function questionOf(deps: PlacementDeps, request: ExplainPlacementRequest): Promise<PlacementQuestion> {
  const hashes = request.chunkHash === "" ? [] : [request.chunkHash];
  const [chunk] = hashes.length === 0 ? [] : await readChunks(deps.pool, hashes);
  const living = chunk?.isReleased === false ? chunk : undefined;
  const replicas = hashes.length === 0 ? [] : await readReplicas(deps.pool, hashes);
  const deletions = hashes.length === 0 ? [] : await readPendingDeletions(deps.pool, hashes);
  return {
    sizeBytes: Number(request.sizeBytes === 0n ? (living?.sizeBytes ?? 1n) : request.sizeBytes),
    // As PlaceChunks does: a chunk never wants fewer than before.
    replicas: Math.max(request.replicas || (living === undefined ? 3 : 0), living?.wantedReplicas ?? 0),
    holders: new Set(replicas.map((replica) => replica.nodeRowId)),
    counting: replicas.filter((replica) => replica.state !== "lost").length,
    deleting: new Set(deletions.map((deletion) => deletion.nodeRowId)),
  };
}

function toProto(candidate: Explained) {
  return {
    nodeId: candidate.nodeId,
    isEligible: candidate.isEligible,
    brokenRules: [...candidate.brokenRules],
    unassignedBytes: BigInt(Math.floor(candidate.roomBytes)),
    freeShare: candidate.parts.freeSpace,
    reputationScore: candidate.parts.reputation,
    responsiveness: candidate.parts.responsiveness,
    diversity: candidate.parts.diversity,
    weight: candidate.weight,
    drawShare: candidate.drawShare,
  };
}

function check(request: ExplainPlacementRequest): void {
  validate((rules) => {
    if (request.chunkHash !== "") rules.hash("chunk_hash", request.chunkHash);
    if (request.nodeId !== "") rules.hash("node_id", request.nodeId);
    rules.int("size_bytes", request.sizeBytes, { min: 0n, max: MAX_CHUNK_BYTES });
    rules.int("replicas", request.replicas, { min: 0, max: 10 });
  });
}
