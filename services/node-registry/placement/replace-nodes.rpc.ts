import { Code, type MethodImpl } from "@connectrpc/connect";
import type { ChunkService, ReplaceNodesRequest } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { validate } from "#platform/rpc/validate.ts";
import { lockChunks } from "../chunks/chunks.store.ts";
import { findNodes } from "../chunks/endpoints.store.ts";
import { uploadNotFound } from "../chunks/get-upload.rpc.ts";
import { sortedHashes } from "../chunks/hashes.ts";
import { toLocations } from "../chunks/locations.ts";
import { readReferences } from "../chunks/references.store.ts";
import { type Pair, readReplicas } from "../chunks/replicas.store.ts";
import { findUpload, isPlaced, lockUploads } from "../chunks/uploads.store.ts";
import { findNode } from "../directory/calling-node.worker.ts";
import { registryError } from "../errors.ts";
import { addRelaxedRules, readRelaxedRules } from "./attempts.store.ts";
import { type Exchange, exchangeAssignments, insertReplacedNodes, readReplacedNodes } from "./exchange.store.ts";
import type { PlacementDeps } from "./place-chunks.rpc.ts";
import { notEnoughNodes } from "./refusals.ts";
import { toProtoRules } from "./rules.ts";

export function replaceNodes(deps: PlacementDeps): MethodImpl<typeof ChunkService.method.replaceNodes> {
  return async (request) => {
    check(request);
    const hashes = [...new Set(request.replacements.map((replacement) => replacement.chunkHash))];
    const failed = await failedPairs(deps, request);
    const outcome = await transact(deps, (tx) => replaceIn(deps, tx, { uploadId: request.uploadId, hashes, failed }));
    if (typeof outcome === "string") throw refusalError(outcome);
    for (const { nodeRowId, sizeBytes } of outcome.made) deps.placer.assigned(nodeRowId, Number(sizeBytes));
    const replicas = (await readReplicas(deps.pool, hashes)).filter((replica) => replica.state !== "lost");
    const nodes = await findNodes(
      deps,
      replicas.map((replica) => replica.nodeRowId),
    );
    return { chunks: toLocations(hashes, replicas, nodes), relaxedRules: toProtoRules(outcome.relaxed) };
  };
}

/**
 * A node that never was is a client's mistake. One that is not assigned is none: it may have been exchanged since the
 * client was told of it, by an earlier call whose answer was lost or because it went away.
 */
async function failedPairs(deps: PlacementDeps, { replacements }: ReplaceNodesRequest): Promise<Pair[]> {
  const failed: Pair[] = [];
  for (const [index, { chunkHash, failedNodeId }] of replacements.entries()) {
    const node = await findNode(deps, failedNodeId);
    if (node === undefined) {
      const message = `replacements[${index}].failed_node_id: no node has this node_id`;
      throw registryError(Code.NotFound, "NODE_NOT_FOUND", message);
    }
    failed.push({ chunkHash, nodeRowId: node.rowId });
  }
  return failed;
}

type Refusal = "upload_not_found" | "upload_expired" | "chunk_not_found" | "not_enough_nodes";

async function replaceIn(
  deps: PlacementDeps,
  tx: Transaction,
  asked: { readonly uploadId: string; readonly hashes: readonly string[]; readonly failed: readonly Pair[] },
): Promise<Exchange | Refusal> {
  // Before any lock: whoever places it holds its row while waiting for chunks, which are locked here first.
  const known = await findUpload(tx, asked.uploadId);
  if (known === undefined || !isPlaced(known)) return "upload_not_found";
  const locked = await lockChunks(tx, sortedHashes(asked.hashes));
  const [upload] = await lockUploads(tx, [asked.uploadId]);
  if (upload?.state === "expired") return "upload_expired";
  const used = new Set((await readReferences(tx, asked.uploadId)).map((reference) => reference.chunkHash));
  if (asked.hashes.some((chunkHash) => !used.has(chunkHash))) return "chunk_not_found";
  const exchange = await exchangeAssignments(tx, locked, asked.failed, {
    now: deps.clock.now(),
    firstProofWithinMs: deps.config.PROOF_FIRST_WITHIN,
    barred: await readReplacedNodes(tx, asked.uploadId),
    isOptional: false,
    place: deps.placer.place,
  });
  if (exchange === undefined) return "not_enough_nodes";
  await insertReplacedNodes(tx, asked.uploadId, asked.failed);
  await addRelaxedRules(tx, asked.uploadId, exchange.relaxed);
  return { ...exchange, relaxed: await readRelaxedRules(tx, asked.uploadId) };
}

function refusalError(refusal: Refusal) {
  switch (refusal) {
    case "upload_not_found":
      return uploadNotFound();
    case "upload_expired":
      return registryError(Code.FailedPrecondition, "UPLOAD_EXPIRED", "the upload has expired");
    case "chunk_not_found":
      return registryError(Code.NotFound, "CHUNK_NOT_FOUND", "the upload has no chunk with one of these hashes");
    case "not_enough_nodes":
      return notEnoughNodes(1);
  }
}

function check(request: ReplaceNodesRequest): void {
  validate((rules) => {
    rules.uuid("upload_id", request.uploadId);
    rules.count("replacements", request.replacements, { min: 1, max: 1_000 });
    const seen = new Set<string>();
    request.replacements.slice(0, 1_000).forEach(({ chunkHash, failedNodeId }, index) => {
      const path = `replacements[${index}]`;
      rules.hash(`${path}.chunk_hash`, chunkHash);
      rules.hash(`${path}.failed_node_id`, failedNodeId);
      if (seen.has(`${chunkHash} ${failedNodeId}`)) rules.fail(path, "must be named once");
      seen.add(`${chunkHash} ${failedNodeId}`);
    });
  });
}
