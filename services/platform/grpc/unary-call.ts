import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { Code } from "@connectrpc/connect";
import { Metadata } from "@grpc/grpc-js";
import { deadlineExceeded } from "#platform/rpc/to-rpc-error.ts";
import type { SurfaceCall } from "./grpc-context.ts";
import { peerOf } from "./peer.ts";
import { PREFIX_BYTES, SingleMessage, type SingleMessageLimits } from "./single-message.ts";
import { GrpcStatus, statusHeaders, toGrpcStatus } from "./status.ts";

/** A unary call with its request message. */
export interface RequestCall extends SurfaceCall {
  readonly request: Uint8Array;
}

/** Ends a unary call: with a status, or with the response message and its trailers. */
export type Answer = (status: GrpcStatus | null, response?: Uint8Array, trailers?: Metadata) => void;

export type UnaryHandler = (call: RequestCall, answer: Answer) => void;

const RESPONSE_HEADERS = { ":status": 200, "content-type": "application/grpc+proto" };
/** Node fires longer timers at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const UNTIL_TRAILERS = { waitForTrailers: true };
const OK_TRAILERS = { "grpc-status": "0" };
const TIMEOUT = /^(\d{1,8})([HMSmun])$/;
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/**
 * Serves a unary call on its HTTP/2 stream, without the layers that grpc-js puts around a call: those and the second
 * turn for its status cost more than a whole heartbeat (36 µs of a bare echo's processor time instead of 23). False, and
 * nothing done, for calls that want something rare: they are left to grpc-js.
 */
export function serveUnary(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  handler: UnaryHandler,
  limits: SingleMessageLimits,
): boolean {
  const timeout = headers["grpc-timeout"];
  const timeoutMs = timeout === undefined ? Number.POSITIVE_INFINITY : timeoutMsOf(timeout);
  const encoding = headers["grpc-encoding"] ?? "identity";
  const isPlain = headers["content-type"]?.startsWith("application/grpc") === true && encoding === "identity";
  if (!isPlain || timeoutMs === undefined || headers[":method"] !== "POST") return false;
  new UnaryCall(stream, headers, timeoutMs).receive(new SingleMessage(stream, limits), handler);
  return true;
}

function timeoutMsOf(header: string | string[]): number | undefined {
  const [, digits, unit = ""] = TIMEOUT.exec(String(header)) ?? [];
  const unitMs = UNIT_MS[unit];
  return unitMs === undefined ? undefined : Math.trunc(Number(digits) * unitMs);
}

const noBytes = new Uint8Array();
const noHeaders: IncomingHttpHeaders = {};
const ignore = () => {};

class UnaryCall implements RequestCall {
  request: Uint8Array = noBytes;
  cancelled = false;
  readonly #stream: ServerHttp2Stream;
  #headers: IncomingHttpHeaders;
  readonly #deadlineMs: number;
  readonly #timer: NodeJS.Timeout | undefined;
  #responseMetadata: Metadata | undefined;
  #onCancelled: (() => void)[] | undefined;
  #isAnswered = false;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, timeoutMs: number) {
    this.#stream = stream;
    this.#headers = headers;
    this.#deadlineMs = Date.now() + timeoutMs;
    if (timeoutMs <= MAX_TIMER_MS) this.#timer = setTimeout(() => this.#expire(), timeoutMs);
    // "close" tells what there is to tell: an error is always followed by it.
    stream.on("error", ignore);
    stream.on("close", () => this.#closed());
  }

  receive(message: SingleMessage, handler: UnaryHandler): void {
    this.#stream.on("data", (chunk: Buffer) => {
      if (this.#isAnswered) return;
      const refusal = message.add(chunk);
      if (refusal === undefined) return;
      message.release();
      this.refuse(refusal);
    });
    this.#stream.on("end", () => {
      const request = this.#isAnswered ? undefined : message.end();
      message.release();
      // A stream that was reset ends too: what the client took back is not done.
      if (request === undefined || this.#stream.closed) return;
      if (request instanceof GrpcStatus) return this.refuse(request);
      this.request = request;
      handler(this, this.answer);
    });
  }

  get metadata(): Metadata {
    return Metadata.fromHttp2Headers(this.#headers);
  }
  getPeer(): string {
    return peerOf(this.#stream);
  }
  getHost(): string {
    return this.#headers[":authority"] ?? "";
  }
  getPath(): string {
    return this.#headers[":path"] ?? "";
  }
  getDeadline(): number {
    return this.#deadlineMs;
  }
  sendMetadata(metadata: Metadata): void {
    this.#responseMetadata = metadata;
  }
  once(_event: "cancelled", listener: () => void): void {
    this.#onCancelled = [...(this.#onCancelled ?? []), listener];
  }

  /** Answers before the request has ended, or before its handler has: what still comes of it is thrown away. */
  refuse(status: GrpcStatus): void {
    this.#send(status);
    // In the same turn the reset would overtake the answer.
    setImmediate(() => this.#stream.close(constants.NGHTTP2_NO_ERROR));
  }

  readonly answer: Answer = (status, response, trailers) => {
    this.#send(status, response, trailers);
    // Only now, and not at the deadline: a handler that goes on reads them. One stream in five outlives two young garbage
    // collections; what hangs from it need not.
    this.request = noBytes;
    this.#headers = noHeaders;
    this.#onCancelled = undefined;
  };

  #send(status: GrpcStatus | null, response?: Uint8Array, trailers?: Metadata): void {
    const stream = this.#stream;
    clearTimeout(this.#timer);
    if (this.#isAnswered || stream.destroyed || stream.closed) return;
    if (status !== null || response === undefined) {
      stream.respond(statusHeaders(status ?? new GrpcStatus(Code.Internal, "no response")), { endStream: true });
      this.#isAnswered = true;
      return;
    }
    const metadata = this.#responseMetadata?.toHttp2Headers();
    stream.respond(metadata === undefined ? RESPONSE_HEADERS : { ...RESPONSE_HEADERS, ...metadata }, UNTIL_TRAILERS);
    // Not before: headers that HTTP/2 forbids throw, and are answered with a status instead.
    this.#isAnswered = true;
    stream.once("wantTrailers", () =>
      stream.sendTrailers(trailers === undefined ? OK_TRAILERS : { ...OK_TRAILERS, ...trailers.toHttp2Headers() }),
    );
    stream.end(frameOf(response));
  }

  #expire(): void {
    this.#cancel();
    this.refuse(toGrpcStatus(deadlineExceeded()));
  }

  #closed(): void {
    clearTimeout(this.#timer);
    if (!this.#isAnswered) this.#cancel();
  }

  #cancel(): void {
    this.cancelled = true;
    const listeners = this.#onCancelled ?? [];
    this.#onCancelled = undefined;
    for (const listener of listeners) listener();
  }
}

function frameOf(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, PREFIX_BYTES);
  return frame;
}
