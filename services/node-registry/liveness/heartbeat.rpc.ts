import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import { HeartbeatResponseSchema, type NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { peerAddressOf } from "#platform/rpc/caller.ts";
import { networkOf } from "../directory/address.ts";
import { callingNode } from "../directory/calling-node.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import type { FoldedBeat } from "./beat.ts";
import { acceptHeartbeat, type HeartbeatDeps, heartbeatAnswer } from "./heartbeats.ts";
import type { BeatSource } from "./lease-writer.worker.ts";
import { createRateGuard, type RateGuard } from "./rate-guard.ts";

/** A sign of life without a stream: it belongs to no epoch and always renews the lease. */
export function heartbeat(deps: HeartbeatDeps): MethodImpl<typeof NodeService.method.heartbeat> {
  // One small entry per node that has ever called here, so that its heartbeats fold and its rate is known.
  const sources = new Map<bigint, UnarySource>();
  return async (request, context) => {
    const node = await callingNode(deps, context);
    const source = sources.get(node.rowId) ?? newSource(node);
    sources.set(node.rowId, source);
    source.peerNetwork = networkOf(peerAddressOf(context).host);
    await acceptHeartbeat(deps, source, request);
    return create(HeartbeatResponseSchema, heartbeatAnswer(deps, node));
  };
}

interface UnarySource extends BeatSource {
  peerNetwork: string;
  readonly rate: RateGuard;
}

function newSource(node: NodeRecord): UnarySource {
  const folded: FoldedBeat | undefined = undefined;
  return { node, epoch: null, peerNetwork: "", folded, rate: createRateGuard(), superseded: () => {} };
}
