import { constants, type ServerHttp2Stream } from "node:http2";
import { createReadRate, type ReadRate } from "#platform/http/read-rate.ts";
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
  /** For `bytes` that have come: resolves when more may be read; undefined where that is at once. */
  pay(bytes: number): Promise<void> | undefined;
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
  /** How fast the large requests of one node are read; as much as one second brings is read at once. */
  readonly maxBytesPerSecond: number;
  /** By `address:port`; undefined for connections that are closed. */
  readonly nodeOf: (peer: string) => string | undefined;
}

interface HeldByNode {
  readonly rate: ReadRate;
  requests: number;
  bytes: number;
}

/**
 * Bounds what one node can make the server hold by beginning large requests and never ending them: the limit of a message
 * times streams times connections would be gigabytes. The request that passes the limit is refused with
 * RESOURCE_EXHAUSTED. And they are read no faster than `maxBytesPerSecond`, by the flow control of their connections: what
 * is refused in the end has been decrypted and read as well.
 */
export function createRequestBudget(options: RequestBudgetOptions): RequestBudget {
  const { maxBytesPerNode, maxBytesPerSecond, nodeOf } = options;
  const byNode = new Map<string, HeldByNode>();
  const forget = (node: string, held: HeldByNode) => {
    if (held.requests > 0 || byNode.get(node) !== held) return;
    const debtMs = held.rate.debtMs();
    if (debtMs <= 0) byNode.delete(node);
    // Who begins another request has not paid by that.
    else setTimeout(forget, debtMs + 1, node, held).unref();
  };
  const begin = (stream: ServerHttp2Stream): HeldRequest => {
    const node = nodeOf(peerOf(stream));
    if (node === undefined) return unknownNode;
    const ofNode = byNode.get(node) ?? { rate: createReadRate(maxBytesPerSecond), requests: 0, bytes: 0 };
    byNode.set(node, ofNode);
    ofNode.requests += 1;
    let held: number | undefined = 0;
    const release = () => {
      if (held === undefined) return;
      ofNode.bytes -= held;
      ofNode.requests -= 1;
      held = undefined;
      forget(node, ofNode);
    };
    stream.once("close", release);
    return {
      pay: (bytes) => ofNode.rate.pay(bytes),
      grow: (bytes) => {
        if (held === undefined) return true;
        ofNode.bytes += bytes - held;
        held = bytes;
        if (ofNode.bytes <= maxBytesPerNode) return true;
        release();
        return false;
      },
      release,
    };
  };
  return { begin, refusal, watch: (stream) => watch(stream, begin) };
}

/** Its connection is closed: nothing more of it comes. */
const unknownNode: HeldRequest = { pay: () => undefined, grow: () => true, release: () => {} };

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
