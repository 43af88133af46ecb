import { constants, type ServerHttp2Stream } from "node:http2";
import { overloaded } from "#platform/rpc/errors.ts";
import { peerOf } from "./peer.ts";
import { type GrpcStatus, statusHeaders, toGrpcStatus } from "./status.ts";

const RETRY_AFTER_MS = 1_000;
/** Smaller requests are not looked at: a heartbeat must not pay for those who send megabytes, nor be refused for them. */
export const SMALL_BYTES = 64 * 1024;

/** One large request on its way. */
export interface HeldRequest {
  /** `bytes` of it have come in all. False, and released, where the node holds too much with them. */
  grow(bytes: number): boolean;
  /** It is complete, or given up. */
  release(): void;
}

export interface RequestBudget {
  /** For requests larger than SMALL_BYTES. Released at the latest with the stream. */
  begin(stream: ServerHttp2Stream): HeldRequest;
  refusal(): GrpcStatus;
  /** Counts and refuses on a stream that grpc-js reads by itself. */
  watch(stream: ServerHttp2Stream): void;
}

export interface RequestBudgetOptions {
  /** Of requests of one node that are not complete, over all its connections. */
  readonly maxBytesPerNode: number;
  /** By `address:port`; undefined for connections that are closed. */
  readonly nodeOf: (peer: string) => string | undefined;
}

/**
 * Bounds what one node can make the server hold by beginning large requests and never ending them: the limit of a message
 * times streams times connections would be gigabytes. The request that passes the limit is refused with
 * RESOURCE_EXHAUSTED.
 */
export function createRequestBudget({ maxBytesPerNode, nodeOf }: RequestBudgetOptions): RequestBudget {
  const heldByNode = new Map<string, number>();
  const hold = (node: string, bytes: number) => {
    const held = (heldByNode.get(node) ?? 0) + bytes;
    if (held > 0) heldByNode.set(node, held);
    else heldByNode.delete(node);
    return held;
  };
  const begin = (stream: ServerHttp2Stream): HeldRequest => {
    let node = nodeOf(peerOf(stream));
    let held = 0;
    const release = () => {
      if (node !== undefined) hold(node, -held);
      node = undefined;
    };
    stream.once("close", release);
    return {
      grow: (bytes) => {
        if (node === undefined) return true;
        const heldOfNode = hold(node, bytes - held);
        held = bytes;
        if (heldOfNode <= maxBytesPerNode) return true;
        release();
        return false;
      },
      release,
    };
  };
  return { begin, refusal, watch: (stream) => watch(stream, begin) };
}

function watch(stream: ServerHttp2Stream, begin: (stream: ServerHttp2Stream) => HeldRequest): void {
  let bytes = 0;
  let held: HeldRequest | undefined;
  let isRefused = false;
  const push = stream.push.bind(stream);
  // Not a listener for data, which would make the stream flow before grpc-js reads it.
  stream.push = (chunk: Uint8Array | null) => {
    if (chunk === null) {
      held?.release();
      return push(null);
    }
    if (isRefused) return false;
    bytes += chunk.byteLength;
    if (bytes > SMALL_BYTES) held ??= begin(stream);
    if (held?.grow(bytes) !== false) return push(chunk);
    isRefused = true;
    if (!stream.headersSent && !stream.closed) stream.respond(statusHeaders(refusal()), { endStream: true });
    // In the same turn the reset would overtake the answer. What the client still sends is thrown away.
    setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
    return false;
  };
}

function refusal(): GrpcStatus {
  return toGrpcStatus(overloaded("too many large requests of this node at once, try again", RETRY_AFTER_MS));
}
