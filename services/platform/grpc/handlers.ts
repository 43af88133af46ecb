import type { DescMessage } from "@bufbuild/protobuf";
import { Code, type MethodImplSpec } from "@connectrpc/connect";
import type { ServerDuplexStream, ServerReadableStream, ServerWritableStream, sendUnaryData } from "@grpc/grpc-js";
import { callIn } from "#platform/rpc/call.ts";
import { RpcError } from "#platform/rpc/errors.ts";
import type { PolicedService } from "#platform/rpc/policy.ts";
import type { AdaptedMethod } from "./adapted-method.ts";
import { decode, encode } from "./codec.ts";
import { GrpcContext, type SurfaceCall } from "./grpc-context.ts";
import { RequestReader } from "./request-reader.ts";
import { GrpcStatus, toGrpcStatus } from "./status.ts";
import type { UnaryHandler } from "./unary-call.ts";
import { writeResponses } from "./write-responses.ts";

type SpecOf<K extends MethodImplSpec["kind"]> = Extract<MethodImplSpec, { kind: K }>;
type Bytes = Uint8Array;
type Done = sendUnaryData<Bytes>;

export function unary(adapted: AdaptedMethod<SpecOf<"unary">>): UnaryHandler {
  const { spec, policed } = adapted;
  return (call, done) => {
    const context = open(adapted, call);
    const run = () => spec.impl(parse(spec.method.input, policed, context, call.request), context);
    const succeed = (response: Awaited<ReturnType<typeof run>>) => {
      const bytes = encode(spec.method.output, response);
      context.over();
      context.sendHeaders();
      done(null, bytes, context.trailers());
    };
    // Without an await where everything is synchronous: a heartbeat is answered in the same turn.
    settle(adapted, context, done, () => then(policed.admit(context), () => then(run(), succeed)));
  };
}

export function clientStreaming(adapted: AdaptedMethod<SpecOf<"client_streaming">>) {
  const { spec, policed } = adapted;
  return (call: ServerReadableStream<Bytes, Bytes>, done: Done): void => {
    const context = open(adapted, call);
    const run = async () => {
      await policed.admit(context);
      const requests = new RequestReader(call, (bytes) => decode(spec.method.input, bytes), context);
      const bytes = encode(spec.method.output, await spec.impl(requests, context));
      context.over();
      context.sendHeaders();
      done(null, bytes, context.trailers());
    };
    settle(adapted, context, done, run);
  };
}

export function serverStreaming(adapted: AdaptedMethod<SpecOf<"server_streaming">>) {
  const { spec, policed } = adapted;
  return (call: ServerWritableStream<Bytes, Bytes>): void => {
    const context = open(adapted, call);
    const run = async () => {
      await policed.admit(context);
      const responses = spec.impl(parse(spec.method.input, policed, context, call.request), context);
      await writeResponses(call, responses, (message) => encode(spec.method.output, message), context);
    };
    settle(adapted, context, (status) => call.emit("error", status), run);
  };
}

export function bidiStreaming(adapted: AdaptedMethod<SpecOf<"bidi_streaming">>) {
  const { spec, policed } = adapted;
  return (call: ServerDuplexStream<Bytes, Bytes>): void => {
    const context = open(adapted, call);
    const run = async () => {
      await policed.admit(context);
      const requests = new RequestReader(call, (bytes) => decode(spec.method.input, bytes), context);
      const responses = spec.impl(requests, context);
      await writeResponses(call, responses, (message) => encode(spec.method.output, message), context);
    };
    settle(adapted, context, (status) => call.emit("error", status), run);
  };
}

function open(adapted: AdaptedMethod<MethodImplSpec>, call: SurfaceCall): GrpcContext {
  const context = new GrpcContext(adapted.spec.method, call);
  adapted.deps.prepare(context, call);
  return context;
}

/** The request message; what cannot be parsed is logged as the call's end. */
function parse<D extends DescMessage>(schema: D, policed: PolicedService, context: GrpcContext, bytes: Bytes) {
  try {
    return decode(schema, bytes);
  } catch (error) {
    policed.ended(callIn(context), error);
    throw error;
  }
}

/** Runs the call and turns whatever it throws into a status. */
function settle(
  { spec, deps }: AdaptedMethod<MethodImplSpec>,
  context: GrpcContext,
  fail: (status: GrpcStatus) => void,
  run: () => void | Promise<void>,
): void {
  const failed = (error: unknown) => {
    context.over();
    if (error instanceof GrpcStatus) return fail(error);
    if (error instanceof RpcError) return fail(toGrpcStatus(error));
    // Below the policy, which maps and logs: a response that does not fit its own message, or a bug here.
    deps.log.error({ rpc: spec.method.toString(), err: error }, "a response could not be sent");
    fail(new GrpcStatus(Code.Internal, "internal error"));
  };
  try {
    run()?.catch(failed);
  } catch (error) {
    failed(error);
  }
}

function then<T>(value: T | Promise<T>, next: (value: T) => void | Promise<void>): void | Promise<void> {
  return value instanceof Promise ? value.then(next) : next(value);
}
