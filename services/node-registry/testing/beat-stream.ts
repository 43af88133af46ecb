import type { MessageInitShape } from "@bufbuild/protobuf";
import { type ServiceError, status } from "@grpc/grpc-js";
import {
  NodeService,
  type StreamHeartbeatsRequestSchema,
  type StreamHeartbeatsResponse,
} from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { reasonOf, type TestGrpcClient } from "#platform/testing/grpc-client.ts";

export interface BeatStreamEnd {
  readonly code: status;
  readonly answers: number;
  readonly reason?: string | undefined;
}

/** A heartbeat stream as a node holds it. */
export interface BeatStream {
  send(request: MessageInitShape<typeof StreamHeartbeatsRequestSchema>): void;
  /** Sends and waits for the next answer; the stream's end, where it ends instead. */
  exchange(
    request: MessageInitShape<typeof StreamHeartbeatsRequestSchema>,
  ): Promise<StreamHeartbeatsResponse | BeatStreamEnd>;
  end(): void;
  readonly finished: Promise<BeatStreamEnd>;
}

export function openBeats(client: TestGrpcClient): BeatStream {
  const call = client.bidi(NodeService.method.streamHeartbeats);
  const waiting: ((answer: StreamHeartbeatsResponse) => void)[] = [];
  let answers = 0;
  let failure: BeatStreamEnd | undefined;
  call.on("data", (answer: StreamHeartbeatsResponse) => {
    answers += 1;
    waiting.shift()?.(answer);
  });
  const finished = new Promise<BeatStreamEnd>((resolve) => {
    call.on("error", (error) => {
      failure = { code: status.UNKNOWN, answers, ...errorParts(error) };
      resolve(failure);
    });
    call.on("status", (end) => {
      if (end.code === status.OK) resolve({ code: end.code, answers });
    });
  });
  return {
    finished,
    send: (request) => void call.write(request),
    exchange: (request) =>
      Promise.race([
        finished,
        new Promise<StreamHeartbeatsResponse>((resolve) => {
          waiting.push(resolve);
          call.write(request);
        }),
      ]),
    end: () => call.end(),
  };
}

function errorParts(error: Error): Partial<BeatStreamEnd> {
  return isServiceError(error) ? { code: error.code, reason: reasonOf(error) } : {};
}

function isServiceError(error: Error): error is ServiceError {
  return "code" in error && "metadata" in error;
}
