import type { ServerHttp2Stream } from "node:http2";
import { Code } from "@connectrpc/connect";
import { type HeldRequest, type RequestBudget, SMALL_BYTES } from "./request-budget.ts";
import { GrpcStatus } from "./status.ts";

/** The flag of compression and the length, before each message of gRPC. */
export const PREFIX_BYTES = 5;

/**
 * Joined beyond this: a piece of one byte takes up to a kilobyte of memory, of which the budget would count one byte. A
 * megabyte in whole frames stays below.
 */
const MOST_PIECES = 128;

export interface SingleMessageLimits {
  readonly maxMessageBytes: number;
  readonly budget: RequestBudget;
}

/** Collects a request that is one message and no more. */
export class SingleMessage {
  readonly #stream: ServerHttp2Stream;
  readonly #limits: SingleMessageLimits;
  #first: Buffer | undefined;
  #rest: Buffer[] | undefined;
  #length = 0;
  #declaredBytes: number | undefined;
  #held: HeldRequest | undefined;

  constructor(stream: ServerHttp2Stream, limits: SingleMessageLimits) {
    this.#stream = stream;
    this.#limits = limits;
  }

  /** Takes what has come; answers why the request is refused, if it is. */
  add(chunk: Buffer): GrpcStatus | undefined {
    const { budget, maxMessageBytes } = this.#limits;
    this.#length += chunk.length;
    if (this.#first === undefined) this.#first = chunk;
    // A prefix in pieces is put together, so that the first chunk holds all of it.
    else if (this.#first.length < PREFIX_BYTES) this.#first = Buffer.concat([this.#first, chunk]);
    else if (this.#rest === undefined) this.#rest = [chunk];
    else if (this.#rest.push(chunk) > MOST_PIECES) this.#rest = [Buffer.concat(this.#rest)];
    if (this.#length > SMALL_BYTES) this.#held ??= budget.begin(this.#stream);
    this.#wait(this.#held?.pay(chunk.length));
    if (this.#held?.grow(this.#length) === false) return budget.refusal();
    if (this.#length < PREFIX_BYTES) return undefined;
    this.#declaredBytes ??= this.#first.readUInt32BE(1);
    if (this.#declaredBytes > maxMessageBytes) return tooLarge(this.#declaredBytes, maxMessageBytes);
    return this.#length > PREFIX_BYTES + this.#declaredBytes ? secondMessage : undefined;
  }

  #wait(turn: Promise<void> | undefined): void {
    if (turn === undefined) return;
    this.#stream.pause();
    void turn.then(() => this.#stream.resume());
  }

  /** The message, once the client has ended; or why there is none. */
  end(): Uint8Array | GrpcStatus {
    const [first, declaredBytes] = [this.#first, this.#declaredBytes];
    if (first === undefined || declaredBytes === undefined) return noMessage;
    if (this.#length < PREFIX_BYTES + declaredBytes) return noMessage;
    if (first[0] !== 0) return unknownEncoding;
    if (this.#rest !== undefined) return Buffer.concat([first, ...this.#rest]).subarray(PREFIX_BYTES);
    // A copy: whoever keeps a field of it would keep everything that came with it from the socket.
    return Buffer.from(first.subarray(PREFIX_BYTES));
  }

  /** Lets go of what it holds. */
  release(): void {
    this.#first = undefined;
    this.#rest = undefined;
    this.#held?.release();
  }
}

// In the words of grpc-js, which reads all other requests.
const noMessage = new GrpcStatus(Code.Unimplemented, "Received no request message for a unary method");
const secondMessage = new GrpcStatus(Code.Unimplemented, "Received a second request message for a unary method");
// grpc-js would take it for a plain message; this is what the specification of gRPC's compression wants.
const unknownEncoding = new GrpcStatus(Code.Internal, "The message is compressed, but the call names no encoding");

function tooLarge(bytes: number, maxBytes: number): GrpcStatus {
  return new GrpcStatus(Code.ResourceExhausted, `Received message larger than max (${bytes} vs ${maxBytes})`);
}
