import type { MethodImpl } from "@connectrpc/connect";
import type { NodeService, ReportBucketRequest } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { type Check, validate } from "#platform/rpc/validate.ts";
import { callingNode } from "../directory/calling-node.worker.ts";
import type { NodeCommands } from "./node-commands.ts";
import { type Replica, readPairs, readReplicasOfNode } from "./replicas.store.ts";
import type { StoredOutcome } from "./report-outcomes.ts";
import { type StoredReportDeps, toProtoResult } from "./report-stored-chunks.rpc.ts";

const MAX_HASHES = 50_000;
const PAGE = 10_000;

/** Settles a difference: what is assigned is confirmed, what is not known is to be deleted, what is missing is named. */
export function reportBucket(
  deps: StoredReportDeps & { readonly commands: NodeCommands },
): MethodImpl<typeof NodeService.method.reportBucket> {
  return async (request, context) => {
    const node = await callingNode(deps, context);
    validate((check) => checkBucket(check, request));
    const known = new Map<string, Replica>();
    for await (const replica of replicasIn(deps, node.rowId, rangeOf(request))) known.set(replica.chunkHash, replica);
    const outcomes = new Map<string, StoredOutcome>();
    const unconfirmed: string[] = [];
    const unknown: string[] = [];
    for (const chunkHash of request.chunkHashes) {
      const replica = known.get(chunkHash);
      if (replica?.state === "confirmed") outcomes.set(chunkHash, "already_confirmed");
      else (replica === undefined ? unknown : unconfirmed).push(chunkHash);
    }
    const { rowId: nodeRowId, nodeId } = node;
    for (const pair of await readPairs(
      deps.pool,
      unknown.map((chunkHash) => ({ nodeRowId, chunkHash })),
    )) {
      // One that was assigned since the range was read is confirmed like the others.
      if (pair.replica === undefined) outcomes.set(pair.chunkHash, pair.deletion ?? "not_placed");
      else unconfirmed.push(pair.chunkHash);
    }
    const confirmed = await deps.submitStored(
      unconfirmed.map((chunkHash) => ({ nodeRowId, nodeId, chunkHash, sizeBytes: undefined })),
    );
    unconfirmed.forEach((chunkHash, index) => {
      outcomes.set(chunkHash, confirmed[index] ?? "not_placed");
    });
    deps.commands.reported(nodeId);
    const listed = new Set(request.chunkHashes);
    return {
      results: request.chunkHashes.map((chunkHash) => toProtoResult(outcomes.get(chunkHash) ?? "not_placed")),
      missingChunkHashes: [...known.values()]
        .filter(({ chunkHash, state }) => state === "confirmed" && !listed.has(chunkHash))
        .map((replica) => replica.chunkHash),
    };
  };
}

interface HashRange {
  /** Excluded; shorter than a hash where the bucket begins. */
  readonly after: string;
  /** Included. */
  readonly through: string;
}

function rangeOf(request: ReportBucketRequest): HashRange {
  const prefix = request.bucket.toString(16).padStart(2, "0");
  return {
    after: request.afterChunkHash ?? prefix,
    through: request.throughChunkHash ?? prefix.padEnd(64, "f"),
  };
}

async function* replicasIn(deps: StoredReportDeps, nodeRowId: bigint, range: HashRange) {
  for (let after = range.after; ; ) {
    const page = await readReplicasOfNode(deps.pool, nodeRowId, { after, through: range.through, limit: PAGE });
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return;
    after = last.chunkHash;
  }
}

function checkBucket(check: Check, request: ReportBucketRequest): void {
  check.int("bucket", request.bucket, { min: 0, max: 255 });
  if (request.bucket < 0 || request.bucket > 255) return;
  const range = rangeOf(request);
  const prefix = request.bucket.toString(16).padStart(2, "0");
  const edges = [
    ["after_chunk_hash", request.afterChunkHash],
    ["through_chunk_hash", request.throughChunkHash],
  ] as const;
  for (const [field, edge] of edges) {
    if (edge === undefined) continue;
    check.hash(field, edge);
    if (!edge.startsWith(prefix)) check.fail(field, "must be in the bucket");
  }
  check.count("chunk_hashes", request.chunkHashes, { max: MAX_HASHES });
  let before = range.after;
  request.chunkHashes.slice(0, MAX_HASHES).forEach((chunkHash, index) => {
    const path = `chunk_hashes[${index}]`;
    check.hash(path, chunkHash);
    if (!chunkHash.startsWith(prefix)) check.fail(path, "must be in the bucket");
    else if (chunkHash > range.through) check.fail(path, "must not be behind through_chunk_hash");
    else if (chunkHash <= before) check.fail(path, "must be in ascending order, behind after_chunk_hash");
    before = chunkHash;
  });
}
