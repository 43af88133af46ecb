import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { constants, type ServerHttp2Stream } from "node:http2";
import { toStatusDetails } from "#platform/rpc/details.ts";
import { overloaded } from "#platform/rpc/errors.ts";

const STREAM_CREATED = "http2.server.stream.created";
const RETRY_AFTER_MS = 1_000;
// Smaller requests are not looked at: a heartbeat must not pay for those who send megabytes, nor be refused for them.
const SMALL_BYTES = 64 * 1024;

export interface RequestBudgetOptions {
  /** Of requests of one node that are not complete, over all its connections. */
  readonly maxBytesPerNode: number;
  /** The paths whose requests are one message; the messages of a stream are read as they come. */
  readonly paths: ReadonlySet<string>;
  /** By `address:port`; undefined for connections of another server. */
  readonly nodeOf: (peer: string) => string | undefined;
}

/**
 * Bounds what one node can make the server hold by beginning large requests and never ending them: the limit of a message
 * times streams times connections would be gigabytes. The request that passes the limit is refused with
 * RESOURCE_EXHAUSTED. grpc-js gives no access to its HTTP/2 sessions and collects messages by itself, so the streams are
 * taken from Node's diagnostics channel and counted as their data comes in.
 */
export function limitUnfinishedRequests(options: RequestBudgetOptions): Disposable {
  const heldByNode = new Map<string, number>();
  const hold = (node: string, bytes: number) => {
    const held = (heldByNode.get(node) ?? 0) + bytes;
    if (held > 0) heldByNode.set(node, held);
    else heldByNode.delete(node);
    return held;
  };
  const onCreated = (event: unknown) => {
    if (isCreation(event) && options.paths.has(event.headers[":path"] ?? "")) count(event.stream, options, hold);
  };
  subscribe(STREAM_CREATED, onCreated);
  return { [Symbol.dispose]: () => void unsubscribe(STREAM_CREATED, onCreated) };
}

function count(
  stream: ServerHttp2Stream,
  { maxBytesPerNode, nodeOf }: RequestBudgetOptions,
  hold: (node: string, bytes: number) => number,
): void {
  let bytes = 0;
  let node: string | undefined;
  let isRefused = false;
  const release = () => {
    if (node !== undefined) hold(node, -bytes);
    node = undefined;
  };
  const push = stream.push.bind(stream);
  // Not a listener for data, which would make the stream flow before grpc-js reads it.
  stream.push = (chunk: Uint8Array | null) => {
    if (chunk === null) {
      release();
      return push(null);
    }
    if (isRefused) return false;
    bytes += chunk.byteLength;
    let held = 0;
    if (node !== undefined) held = hold(node, chunk.byteLength);
    else if (bytes > SMALL_BYTES && bytes - chunk.byteLength <= SMALL_BYTES) {
      node = nodeOf(peerOf(stream));
      if (node !== undefined) held = hold(node, bytes);
      stream.once("close", release);
    }
    if (held <= maxBytesPerNode) return push(chunk);
    release();
    isRefused = true;
    refuse(stream);
    return false;
  };
}

/** The answer of gRPC without a message, and the end of the stream: what the client still sends is thrown away. */
function refuse(stream: ServerHttp2Stream): void {
  const error = overloaded("too many large requests of this node at once, try again", RETRY_AFTER_MS);
  const details = toStatusDetails(error);
  if (!stream.headersSent && !stream.closed) {
    stream.respond(
      {
        ":status": 200,
        "content-type": "application/grpc",
        "grpc-status": String(error.code),
        "grpc-message": error.message,
        ...(details === undefined ? {} : { "grpc-status-details-bin": Buffer.from(details).toString("base64") }),
      },
      { endStream: true },
    );
  }
  // In the same turn the reset would overtake the answer.
  setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
}

function peerOf({ session }: ServerHttp2Stream): string {
  return `${session?.socket.remoteAddress}:${session?.socket.remotePort}`;
}

interface Creation {
  readonly stream: ServerHttp2Stream;
  readonly headers: Readonly<Record<string, string | undefined>>;
}

function isCreation(event: unknown): event is Creation {
  return typeof event === "object" && event !== null && "stream" in event && "headers" in event;
}
