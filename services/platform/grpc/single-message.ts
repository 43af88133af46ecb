import type { ServerHttp2Stream } from "node:http2";
import { Code } from "@connectrpc/connect";
import { type HeldRequest, type RequestBudget, SMALL_BYTES } from "./request-budget.ts";
import { GrpcStatus } from "./status.ts";

/** The flag of compression and the length, before each message of gRPC. */
export const PREFIX_BYTES = 5;

export interface SingleMessageLimits {
  readonly maxMessageBytes: number;
  readonly budget: RequestBudget;
}

/**
 * Reads a request that is one message and no more. `settle` gets the message once the client has ended, or at once why
 * there will be none; it is called at most once, and not at all where the stream is cut off.
 */
export function readSingleMessage(
  stream: ServerHttp2Stream,
  { maxMessageBytes, budget }: SingleMessageLimits,
  settle: (message: Uint8Array | GrpcStatus) => void,
): void {
  let chunks: Buffer[] = [];
  let length = 0;
  let declaredBytes: number | undefined;
  let held: HeldRequest | undefined;
  let isSettled = false;
  const finish = (result: Uint8Array | GrpcStatus) => {
    isSettled = true;
    chunks = [];
    held?.release();
    settle(result);
  };
  const add = (chunk: Buffer): GrpcStatus | undefined => {
    length += chunk.length;
    chunks.push(chunk);
    if (length > SMALL_BYTES) held ??= budget.begin(stream);
    if (held?.grow(length) === false) return budget.refusal();
    declaredBytes ??= declaredIn(chunks, length);
    if (declaredBytes === undefined) return undefined;
    if (declaredBytes > maxMessageBytes) return tooLarge(declaredBytes, maxMessageBytes);
    return length > PREFIX_BYTES + declaredBytes ? secondMessage : undefined;
  };
  stream.on("data", (chunk: Buffer) => {
    if (isSettled) return;
    const refusal = add(chunk);
    if (refusal !== undefined) finish(refusal);
  });
  stream.on("end", () => {
    if (isSettled) return;
    if (declaredBytes === undefined || length < PREFIX_BYTES + declaredBytes) return finish(noMessage);
    const [first] = chunks;
    if (first === undefined || first[0] !== 0) return finish(first === undefined ? noMessage : unknownEncoding);
    // A copy also of a single chunk: what keeps a field of it would keep everything that came with it from the socket.
    const isWhole = chunks.length === 1;
    finish(isWhole ? Buffer.from(first.subarray(PREFIX_BYTES)) : Buffer.concat(chunks).subarray(PREFIX_BYTES));
  });
}

function declaredIn(chunks: readonly Buffer[], length: number): number | undefined {
  if (length < PREFIX_BYTES) return undefined;
  const [first] = chunks;
  const head = first !== undefined && first.length >= PREFIX_BYTES ? first : Buffer.concat(chunks);
  return head.readUInt32BE(1);
}

// In the words of grpc-js, which reads all other requests.
const noMessage = new GrpcStatus(Code.Unimplemented, "Received no request message for a unary method");
const secondMessage = new GrpcStatus(Code.Unimplemented, "Received a second request message for a unary method");
const unknownEncoding = new GrpcStatus(Code.Unimplemented, "The message is compressed, but the call names no encoding");

function tooLarge(bytes: number, maxBytes: number): GrpcStatus {
  return new GrpcStatus(Code.ResourceExhausted, `Received message larger than max (${bytes} vs ${maxBytes})`);
}
