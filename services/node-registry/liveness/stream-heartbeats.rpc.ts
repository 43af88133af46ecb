import { create } from "@bufbuild/protobuf";
import type { MethodImpl } from "@connectrpc/connect";
import {
  type NodeService,
  type StreamHeartbeatsRequest,
  type StreamHeartbeatsResponse,
  StreamHeartbeatsResponseSchema,
} from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { peerAddressOf } from "#platform/rpc/caller.ts";
import { networkOf } from "../directory/address.ts";
import { callingNode } from "../directory/calling-node.ts";
import { acceptHeartbeat, type HeartbeatDeps, heartbeatAnswer } from "./heartbeats.ts";
import type { NodeStream } from "./node-streams.ts";

/** One response per request, in order. The first request takes over from the node's older streams. */
export function streamHeartbeats(deps: HeartbeatDeps): MethodImpl<typeof NodeService.method.streamHeartbeats> {
  return async function* (requests, context) {
    const node = await callingNode(deps, context);
    const stream = deps.streams.open(node, networkOf(peerAddressOf(context).host));
    const answers = createAnswers(deps, stream);
    try {
      for await (const request of endable(requests, stream)) {
        if (stream.epoch === null) await stream.claim();
        const storing = acceptHeartbeat(deps, stream, request);
        if (storing !== undefined) await storing;
        if (stream.ended !== undefined) throw stream.ended;
        yield answers.next();
      }
    } finally {
      stream.close();
    }
  };
}

/** Answers within one millisecond are alike unless there is something to do, so a flood costs no messages. */
function createAnswers(deps: HeartbeatDeps, stream: NodeStream): { next(): StreamHeartbeatsResponse } {
  let madeAtMs = Number.NaN;
  let revision = -1n;
  let made: StreamHeartbeatsResponse | undefined;
  return {
    next: () => {
      const nowMs = Math.trunc(deps.clock.monotonicMs());
      if (made !== undefined && nowMs === madeAtMs && revision === stream.node.revision && made.commands.length === 0) {
        return made;
      }
      madeAtMs = nowMs;
      revision = stream.node.revision;
      made = create(StreamHeartbeatsResponseSchema, heartbeatAnswer(deps, stream.node));
      return made;
    },
  };
}

/** The requests, until the stream is ended from outside: the read that waits then fails at once with that error. */
function endable(
  requests: AsyncIterable<StreamHeartbeatsRequest>,
  stream: NodeStream,
): AsyncIterable<StreamHeartbeatsRequest> {
  const inner = requests[Symbol.asyncIterator]();
  return {
    [Symbol.asyncIterator]: () => ({
      next: () =>
        new Promise((resolve, reject) => {
          if (stream.ended !== undefined) return reject(stream.ended);
          stream.onEnd = reject;
          inner.next().then(resolve, reject);
        }),
      return: async () => {
        await inner.return?.();
        return { done: true, value: undefined };
      },
    }),
  };
}
