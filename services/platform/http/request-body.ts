import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import type { ConnectError } from "@connectrpc/connect";
import type { BodyBudget, CountedBody } from "./body-budget.ts";
import { isGivenUp } from "./start-queue.ts";

type NodeRequest = IncomingMessage | Http2ServerRequest;
type Take = (body: AsyncIterable<Uint8Array> | undefined) => void;

const ENVELOPE_HEAD_BYTES = 5;

export interface RequestBodyOptions {
  readonly budget: BodyBudget;
  /** Where the request comes from. */
  readonly address: string;
  /** What is larger is handed over as soon as that is known, for Connect to refuse it. */
  readonly readMaxBytes: number;
  /** gRPC, gRPC-Web and the streams of Connect: five bytes of flags and length stand before the message. */
  readonly isEnveloped: boolean;
}

/**
 * Collects the body of a request that holds one message, and gives it in one piece when all of it is there, or with the
 * error of a budget. Connect is to hear of a request only then: a call that is under way takes a hundred kilobytes of
 * objects, and a message is allocated as soon as its length is announced, which is memory and garbage collection for
 * everybody at the price of five bytes. `take` is called once, without a body where the client has given up.
 */
export function receiveBody(request: NodeRequest, options: RequestBodyOptions, take: Take): void {
  new RequestBody(request, options, take);
}

class RequestBody {
  readonly #request: NodeRequest;
  readonly #source: IncomingMessage | Http2ServerRequest["stream"];
  readonly #options: RequestBodyOptions;
  readonly #counted: CountedBody;
  #take: Take | undefined;
  #pieces: Uint8Array[] = [];
  #bytes = 0;

  constructor(request: NodeRequest, options: RequestBodyOptions, take: Take) {
    this.#request = request;
    this.#source = "stream" in request ? request.stream : request;
    this.#options = options;
    this.#take = take;
    this.#counted = options.budget.open(options.address, (error) => this.#handOver(() => failing(error)));
    this.#source.on("data", (piece: Uint8Array) => this.#add(piece));
    this.#source.once("end", () => this.#end());
    this.#source.once("close", () => this.#handOver(() => undefined));
    // An empty body whose end came in the packet of its head has ended by itself, unread: there is no event to wait for.
    if (this.#source.readableEnded) this.#end();
    const announced = Number(request.headers["content-length"]);
    if (!options.isEnveloped && announced > options.readMaxBytes) this.#handOver(() => onePiece(new Uint8Array()));
  }

  #add(piece: Uint8Array): void {
    const turn = this.#counted.add(piece.byteLength);
    if (turn !== undefined) this.#wait(turn);
    if (this.#take === undefined) return; // refused: what still comes is thrown away
    this.#pieces.push(piece);
    this.#bytes += piece.byteLength;
    if (this.#isTooLarge()) this.#handOver(() => onePiece(this.#join()));
  }

  #wait(turn: Promise<void>): void {
    this.#source.pause();
    void turn.then(() => this.#source.resume());
  }

  #isTooLarge(): boolean {
    const { isEnveloped, readMaxBytes } = this.#options;
    if (!isEnveloped) return this.#bytes > readMaxBytes;
    if (this.#bytes < ENVELOPE_HEAD_BYTES) return false;
    if (this.#bytes > ENVELOPE_HEAD_BYTES + readMaxBytes) return true;
    if ((this.#pieces[0]?.byteLength ?? 0) < ENVELOPE_HEAD_BYTES) this.#pieces = [this.#join()];
    const [first] = this.#pieces;
    return first !== undefined && new DataView(first.buffer, first.byteOffset).getUint32(1) > readMaxBytes;
  }

  #end(): void {
    // What is cut off or reset ends too: what the client took back is not done.
    if (isGivenUp(this.#request)) return;
    this.#handOver(() => onePiece(this.#join()));
  }

  #join(): Uint8Array {
    const [first = new Uint8Array()] = this.#pieces;
    return this.#pieces.length <= 1 ? first : Buffer.concat(this.#pieces, this.#bytes);
  }

  #handOver(body: () => AsyncIterable<Uint8Array> | undefined): void {
    const take = this.#take;
    if (take === undefined) return;
    const given = body();
    this.#take = undefined;
    this.#pieces = [];
    this.#counted.release();
    take(given);
  }
}

function onePiece(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  return bodyOf((isFirst) =>
    isFirst && bytes.byteLength > 0 ? Promise.resolve({ done: false, value: bytes }) : Promise.resolve(over),
  );
}

function failing(error: ConnectError): AsyncIterable<Uint8Array> {
  return bodyOf(() => Promise.reject(error));
}

const over: IteratorReturnResult<undefined> = { done: true, value: undefined };

function bodyOf(
  read: (isFirst: boolean) => Promise<IteratorResult<Uint8Array, undefined>>,
): AsyncIterable<Uint8Array, undefined> {
  let isFirst = true;
  const next = () => {
    const result = read(isFirst);
    isFirst = false;
    return result;
  };
  return { [Symbol.asyncIterator]: () => ({ next, return: () => Promise.resolve(over) }) };
}
