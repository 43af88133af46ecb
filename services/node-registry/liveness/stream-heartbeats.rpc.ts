import { create } from "@bufbuild/protobuf";
import type { HandlerContext, MethodImpl } from "@connectrpc/connect";
import {
  type NodeService,
  type StreamHeartbeatsRequest,
  type StreamHeartbeatsResponse,
  StreamHeartbeatsResponseSchema,
} from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { nodeCallerOf, peerAddressOf } from "#platform/rpc/caller.ts";
import { networkOf } from "../directory/address.ts";
import { callingNode } from "../directory/calling-node.worker.ts";
import { type Answers, createAnswers } from "./answers.ts";
import { createCertificateGuard } from "./certificate-guard.ts";
import { acceptHeartbeat, type HeartbeatDeps, heartbeatAnswer } from "./heartbeats.worker.ts";
import type { NodeStream } from "./node-streams.ts";

type Result = IteratorResult<StreamHeartbeatsResponse, undefined>;

/**
 * One response per request, in order. The first request takes over from the node's older streams.
 *
 * An iterator by hand and not a generator: this is the hottest path of the service, and each layer of async generators
 * costs as much as the whole of what is done with a heartbeat.
 */
export function streamHeartbeats(deps: HeartbeatDeps): MethodImpl<typeof NodeService.method.streamHeartbeats> {
  return (requests, context) => ({ [Symbol.asyncIterator]: () => createExchange(deps, requests, context) });
}

function createExchange(
  deps: HeartbeatDeps,
  requests: AsyncIterable<StreamHeartbeatsRequest>,
  context: HandlerContext,
): AsyncIterator<StreamHeartbeatsResponse, undefined> {
  const inner = requests[Symbol.asyncIterator]();
  const assertUnexpired = createCertificateGuard(deps.clock, context);
  let stream: NodeStream | undefined;
  let answers: Answers<StreamHeartbeatsResponse> | undefined;
  let isOver = false;

  function close(): void {
    isOver = true;
    stream?.close();
  }

  async function begin(request: StreamHeartbeatsRequest): Promise<Result> {
    const node = await callingNode(deps, context);
    stream = deps.streams.open(node, networkOf(peerAddressOf(context).host));
    answers = createAnswers(deps.clock, node, () =>
      create(StreamHeartbeatsResponseSchema, heartbeatAnswer(deps, node, nodeCallerOf(context).certificate)),
    );
    // The client may have gone while its node was looked up: nobody would close the stream any more.
    if (isOver) stream.close();
    await stream.claim();
    return answer(deps, request, stream, answers);
  }

  function take(result: IteratorResult<StreamHeartbeatsRequest, undefined>): Result | Promise<Result> {
    if (result.done) {
      close();
      return { done: true, value: undefined };
    }
    assertUnexpired();
    if (stream === undefined || answers === undefined) return begin(result.value);
    return answer(deps, result.value, stream, answers);
  }

  return {
    next: () =>
      new Promise<Result>((resolve, reject) => {
        const fail = (error: unknown) => {
          close();
          reject(error);
        };
        if (stream?.ended !== undefined) return fail(stream.ended);
        // A stream that is ended from outside fails the read that waits, at once.
        if (stream !== undefined) stream.onEnd = fail;
        inner.next().then((result) => {
          try {
            const taken = take(result);
            if (taken instanceof Promise) taken.then(resolve, fail);
            else resolve(taken);
          } catch (error) {
            fail(error);
          }
        }, fail);
      }),
    return: async () => {
      close();
      await inner.return?.();
      return { done: true, value: undefined };
    },
  };
}

/** A promise only where there is something to wait for. */
function answer(
  deps: HeartbeatDeps,
  request: StreamHeartbeatsRequest,
  stream: NodeStream,
  answers: Answers<StreamHeartbeatsResponse>,
): Result | Promise<Result> {
  const storing = acceptHeartbeat(deps, stream, request);
  if (stream.ended !== undefined) throw stream.ended;
  return storing === undefined ? resultOf(answers.next()) : storing.then(() => resultOf(answers.next()));
}

function resultOf(value: StreamHeartbeatsResponse): Result {
  return { done: false, value };
}
