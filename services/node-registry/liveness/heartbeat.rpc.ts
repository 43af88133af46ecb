import { create } from "@bufbuild/protobuf";
import type { HandlerContext, MethodImpl } from "@connectrpc/connect";
import {
  type HeartbeatRequest,
  type HeartbeatResponse,
  HeartbeatResponseSchema,
  type NodeService,
} from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { type CertificateInUse, nodeCallerOf, peerAddressOf } from "#platform/rpc/caller.ts";
import { networkOf } from "../directory/address.ts";
import { callingNode, knownCallingNode } from "../directory/calling-node.worker.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import { type Answers, createAnswers } from "./answers.ts";
import type { FoldedBeat } from "./beat.ts";
import { acceptHeartbeat, type HeartbeatDeps, heartbeatAnswer } from "./heartbeats.worker.ts";
import { createRateGuard, type RateGuard } from "./rate-guard.ts";
import type { BeatSource } from "./write-beats.worker.ts";

/**
 * A sign of life without a stream: it belongs to no epoch and always renews the lease. Answered without a promise where
 * there is nothing to wait for.
 */
export function heartbeat(deps: HeartbeatDeps): MethodImpl<typeof NodeService.method.heartbeat> {
  // One small entry per node that has ever called here, so that its heartbeats fold and its rate is known.
  const sources = new Map<bigint, UnarySource>();

  function answer(node: NodeRecord, request: HeartbeatRequest, context: HandlerContext) {
    const source = sources.get(node.rowId) ?? newSource(deps, node);
    sources.set(node.rowId, source);
    source.moveTo(peerAddressOf(context).host, nodeCallerOf(context).certificate);
    const storing = acceptHeartbeat(deps, source, request);
    return storing === undefined ? source.answers.next() : storing.then(() => source.answers.next());
  }

  return (request, context) => {
    const node = knownCallingNode(deps, context);
    if (node !== undefined) return answer(node, request, context);
    return callingNode(deps, context).then((found) => answer(found, request, context));
  };
}

interface UnarySource extends BeatSource {
  readonly rate: RateGuard;
  readonly answers: Answers<HeartbeatResponse>;
  moveTo(host: string, certificate: CertificateInUse | undefined): void;
}

function newSource(deps: HeartbeatDeps, node: NodeRecord): UnarySource {
  let lastHost = "";
  let peerNetwork = "";
  let inUse: CertificateInUse | undefined;
  const folded: FoldedBeat | undefined = undefined;
  return {
    node,
    epoch: null,
    get peerNetwork() {
      return peerNetwork;
    },
    folded,
    rate: createRateGuard(),
    answers: createAnswers(deps.clock, node, () => create(HeartbeatResponseSchema, heartbeatAnswer(deps, node, inUse))),
    superseded: () => {},
    moveTo: (host, certificate) => {
      inUse = certificate;
      if (host === lastHost) return;
      lastHost = host;
      peerNetwork = networkOf(host);
    },
  };
}
