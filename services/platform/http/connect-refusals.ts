import type { DescMessage } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ContextValues,
  createContextKey,
  createContextValues,
  type HandlerContext,
  type Interceptor,
} from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { type Call, callOf } from "#platform/rpc/call.ts";
import { toConnectError } from "#platform/rpc/details.ts";
import { malformedRequest, RpcError } from "#platform/rpc/errors.ts";
import type { PolicedService } from "#platform/rpc/policy.ts";
import { withoutValues } from "./unread-message.ts";

/** Set on a request that is only made to have Connect write an error in its protocol. */
const answerKey = createContextKey<ConnectError | undefined>(undefined, { description: "answer" });

export function throwPreparedAnswer(context: HandlerContext): void {
  const answer = context.values.get(answerKey);
  if (answer !== undefined) throw answer;
}

/**
 * Runs a call and looks at what Connect did by itself: requests that it refused although they were admitted are logged,
 * where it says INTERNAL for bytes that are no such message, the client gets INVALID_ARGUMENT, and
 * INVALID_ARGUMENT carries its reason.
 */
export async function serveCall(
  handler: UniversalHandler,
  request: UniversalServerRequest & { contextValues: ContextValues },
  policed: PolicedService | undefined,
): Promise<UniversalServerResponse> {
  const response = await handler(request);
  const call = callOf(request.contextValues);
  if (call === undefined || (call.isStarted ? !call.isSuccess : call.isFinished)) return response;
  const error = errorOf(call);
  const refusal = call.isStarted ? undefined : refusalOf(error, handler.method.input);
  policed?.ended(call, refusal ?? error);
  if (refusal === undefined) return response;
  // A second run that ends at the gate: the library writes the answer, whichever of its protocols the client speaks.
  const contextValues = createContextValues().set(answerKey, toConnectError(refusal));
  return handler({ ...request, body: noBody(), contextValues });
}

/** With the documented reason: Connect gives none to bytes, JSON or headers that it cannot read. */
function refusalOf(error: ConnectError, input: DescMessage): RpcError | undefined {
  if (error.code === Code.Internal) return malformedRequest(input.typeName);
  if (error.code !== Code.InvalidArgument) return undefined;
  return new RpcError({ code: error.code, reason: "INVALID_FIELD", message: withoutValues(error.rawMessage) });
}

/** The same for the messages of a stream, which are read while the handler runs. */
export const refuseMalformedMessages: Interceptor = (next) => (request) =>
  next(request.stream ? { ...request, message: refusing(request.message, request.method.input) } : request);

async function* refusing<T>(messages: AsyncIterable<T>, input: DescMessage): AsyncGenerator<T, void> {
  try {
    yield* messages;
  } catch (error) {
    const isMalformed = error instanceof ConnectError && error.code === Code.Internal;
    throw isMalformed ? toConnectError(malformedRequest(input.typeName)) : error;
  }
}

/** What Connect answered: the reason of the call's signal or, for gRPC and gRPC-Web, what it has put into the trailers. */
function errorOf({ context }: Call): ConnectError {
  const reason: unknown = context.signal.reason;
  if (reason instanceof ConnectError) return reason;
  const status = Number(context.responseTrailer.get("grpc-status") ?? 0);
  const message = decodeURIComponent(context.responseTrailer.get("grpc-message") ?? "the request was refused");
  return new ConnectError(message, status in Code && status > 0 ? status : Code.InvalidArgument);
}

async function* noBody(): AsyncGenerator<Uint8Array, void> {}
