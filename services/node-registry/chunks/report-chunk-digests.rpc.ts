import type { MethodImpl } from "@connectrpc/connect";
import type { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { overloaded } from "#platform/rpc/errors.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { callingNode } from "../directory/calling-node.worker.ts";
import { digestFromBytes, sumOf } from "./chunk-digest.ts";
import { correctDigest } from "./holdings.store.ts";
import type { NodeCommands } from "./node-commands.ts";
import { sumBuckets } from "./replicas.store.ts";

// Each sums all replicas of a node: a second for a million.
const MAX_AT_ONCE = 4;

export function reportChunkDigests(
  deps: Pick<Deps, "pool" | "view" | "clock" | "log"> & { readonly commands: NodeCommands },
): MethodImpl<typeof NodeService.method.reportChunkDigests> {
  const running = new Set<string>();
  return async ({ digests }, context) => {
    const node = await callingNode(deps, context);
    validate((check) => {
      check.count("digests", digests, { min: 256, max: 256 });
      digests.slice(0, 256).forEach((digest, bucket) => {
        if (digest.length !== 8) check.fail(`digests[${bucket}]`, "must have 8 bytes");
      });
    });
    if (running.has(node.nodeId) || running.size >= MAX_AT_ONCE) {
      throw overloaded("too many digests are being compared, try again", 5_000);
    }
    running.add(node.nodeId);
    try {
      const { sums, runningSum } = await sumBuckets(deps.pool, node.rowId);
      deps.commands.reported(node.nodeId);
      const sum = sumOf(sums.values());
      // Read in one snapshot, so they are equal unless somebody has changed rows by hand: every bucket may agree then, and
      // the node would be asked, and all its replicas summed, for ever.
      if (sum !== runningSum && (await correctDigest(deps.pool, node.rowId, { sum, runningSum }, deps.clock.now()))) {
        deps.log.error({ nodeId: node.nodeId }, "the running sum of a node's chunks was wrong and has been corrected");
      }
      const buckets = digests.flatMap((digest, bucket) =>
        digestFromBytes(digest) === (sums.get(bucket) ?? 0n) ? [] : [bucket],
      );
      return { buckets };
    } finally {
      running.delete(node.nodeId);
    }
  };
}
