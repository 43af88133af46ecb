import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { dependencyErrorOf } from "./dependency-errors.ts";
import { internalError, RpcError } from "./errors.ts";

/**
 * What the client gets for whatever a handler threw. Only an RpcError keeps its words; of everything else the client
 * learns a code, and the log the cause chain.
 */
export function toRpcError(error: unknown, context: Pick<HandlerContext, "signal" | "timeoutMs">): RpcError {
  if (error instanceof RpcError) return error;
  if (context.signal.aborted && isAbort(error, context.signal)) return abortErrorOf(context.signal.reason, context);
  // An error of the stack under us, such as a stream's message that cannot be parsed or is too large: it keeps its code.
  if (isFromStack(error)) return new RpcError({ code: error.code, message: error.rawMessage, cause: error.cause });
  return dependencyErrorOf(error) ?? internalError(error);
}

/** Why a call's signal was aborted: DEADLINE_EXCEEDED, the server's own reason (a stop), or CANCELLED. */
export function abortErrorOf(reason: unknown, context: Pick<HandlerContext, "timeoutMs">): RpcError {
  if (reason instanceof RpcError) return reason;
  const isTimeout = reason instanceof ConnectError && reason.code === Code.DeadlineExceeded;
  // A client that gives up at its own deadline resets the stream an instant before our timer fires.
  const remainingMs = context.timeoutMs();
  if (isTimeout || (remainingMs !== undefined && remainingMs <= 0)) return deadlineExceeded();
  return new RpcError({ code: Code.Canceled, message: "the client cancelled the call" });
}

export function deadlineExceeded(): RpcError {
  const message = "the deadline passed before the call was finished";
  return new RpcError({ code: Code.DeadlineExceeded, reason: "DEADLINE_EXCEEDED", message });
}

function isAbort(error: unknown, signal: AbortSignal): boolean {
  if (error === signal.reason) return true;
  if (!(error instanceof Error)) return false;
  if (error.name === "AbortError" || error.name === "TimeoutError" || error.cause === signal.reason) return true;
  return error instanceof ConnectError && ABORT_CODES.has(error.code);
}

const ABORT_CODES: ReadonlySet<Code> = new Set([Code.Canceled, Code.DeadlineExceeded, Code.Aborted]);
const STACK_CODES: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.ResourceExhausted,
  Code.Unimplemented,
  Code.Canceled,
  Code.Aborted,
]);

/** Only errors that the request's own bytes can cause; those of a client for another service are wire errors. */
function isFromStack(error: unknown): error is ConnectError {
  return error instanceof ConnectError && !error.isWireError && STACK_CODES.has(error.code);
}
