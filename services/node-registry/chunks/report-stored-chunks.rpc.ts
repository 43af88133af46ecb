import type { MethodImpl } from "@connectrpc/connect";
import {
  type NodeService,
  type ReportStoredChunksRequest,
  StoredChunkResult,
} from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { callingNode } from "../directory/calling-node.worker.ts";
import { checkHashes } from "./check-hashes.ts";
import type { NamedReport } from "./record-stored.worker.ts";
import type { StoredOutcome } from "./report-outcomes.ts";

export interface StoredReportDeps extends Pick<Deps, "pool" | "view"> {
  /** One transaction for everybody who reports at the same time. */
  readonly submitStored: (reports: readonly NamedReport[]) => Promise<readonly StoredOutcome[]>;
}

export function reportStoredChunks(deps: StoredReportDeps): MethodImpl<typeof NodeService.method.reportStoredChunks> {
  return async (request, context) => {
    const node = await callingNode(deps, context);
    check(request);
    const outcomes = await deps.submitStored(
      request.chunkHashes.map((chunkHash, index) => ({
        nodeRowId: node.rowId,
        nodeId: node.nodeId,
        chunkHash,
        sizeBytes: request.sizesBytes[index],
      })),
    );
    return { results: outcomes.map(toProtoResult) };
  };
}

const RESULTS: Record<StoredOutcome, StoredChunkResult> = {
  confirmed: StoredChunkResult.CONFIRMED,
  already_confirmed: StoredChunkResult.ALREADY_CONFIRMED,
  not_placed: StoredChunkResult.NOT_PLACED,
  wrong_size: StoredChunkResult.WRONG_SIZE,
  released: StoredChunkResult.RELEASED,
  upload_expired: StoredChunkResult.UPLOAD_EXPIRED,
};

export function toProtoResult(outcome: StoredOutcome): StoredChunkResult {
  return RESULTS[outcome];
}

function check({ chunkHashes, sizesBytes }: ReportStoredChunksRequest): void {
  validate((rules) => {
    checkHashes(rules, chunkHashes, { max: 1_000 });
    if (sizesBytes.length === 0) return;
    if (sizesBytes.length !== chunkHashes.length) rules.fail("sizes_bytes", "must be empty or have one entry per hash");
    sizesBytes.slice(0, 1_000).forEach((size, index) => {
      rules.int(`sizes_bytes[${index}]`, size, { min: 0n });
    });
  });
}
