import type { Metadata } from "@grpc/grpc-js";
import type { GrpcContext } from "./grpc-context.ts";

interface Writable {
  readonly cancelled: boolean;
  write(bytes: Uint8Array): boolean;
  end(trailers?: Metadata): unknown;
  once(event: string, listener: () => void): unknown;
  off(event: string, listener: () => void): unknown;
}

/**
 * Writes the responses as fast as the client reads them, then the trailers. Stops pulling when the call is cancelled. A
 * message that is the same object as the one before is not encoded again, so a handler must not change what it has given.
 */
export async function writeResponses<T>(
  call: Writable,
  responses: AsyncIterable<T>,
  encode: (message: T) => Uint8Array,
  context: GrpcContext,
): Promise<void> {
  let areHeadersSent = false;
  let last: { readonly message: T; readonly bytes: Uint8Array } | undefined;
  for await (const message of responses) {
    if (call.cancelled) return;
    if (!areHeadersSent) context.sendHeaders();
    areHeadersSent = true;
    if (last?.message !== message) last = { message, bytes: encode(message) };
    if (!call.write(last.bytes)) await drained(call);
    if (call.cancelled) return;
  }
  context.over();
  if (!areHeadersSent) context.sendHeaders();
  call.end(context.trailers());
}

/** Resolves when there is room again, or when nobody reads any more. */
function drained(call: Writable): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      call.off("drain", settle);
      call.off("cancelled", settle);
      call.off("close", settle);
      resolve();
    };
    call.once("drain", settle);
    call.once("cancelled", settle);
    call.once("close", settle);
  });
}
