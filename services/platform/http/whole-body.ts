const ENVELOPE_HEAD_BYTES = 5;

export interface WholeBodyOptions {
  /** What Connect would refuse is handed on as it comes, so that it can refuse at once. */
  readonly readMaxBytes: number;
  /** gRPC, gRPC-Web and the streams of Connect: five bytes of flags and length stand before the message. */
  readonly isEnveloped: boolean;
}

/**
 * Gives a body that holds one message in one piece, when all of it is there. Connect sends each piece through a chain of
 * generators, and allocates a message as soon as its length is known: five bytes took a megabyte, 320 of them stalled
 * everybody by 40 ms at a time with garbage collection. What is no such body is handed on as it comes.
 */
export function wholeBody(body: AsyncIterable<Uint8Array>, options: WholeBodyOptions): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => new WholeBody(body[Symbol.asyncIterator](), options) };
}

class WholeBody implements AsyncIterator<Uint8Array, undefined> {
  readonly #inner: AsyncIterator<Uint8Array, undefined>;
  readonly #options: WholeBodyOptions;
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  #messageBytes: number | undefined;
  #isHandedOn = false;

  constructor(inner: AsyncIterator<Uint8Array, undefined>, options: WholeBodyOptions) {
    this.#inner = inner;
    this.#options = options;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    while (!this.#isHandedOn) {
      const result = await this.#inner.next();
      if (result.done !== true) {
        this.#pieces.push(result.value);
        this.#bytes += result.value.byteLength;
      }
      this.#isHandedOn = result.done === true || !this.#isOneMessage();
      if (this.#isHandedOn && this.#bytes > 0) return { done: false, value: this.#take() };
    }
    return this.#inner.next();
  }

  /** As far as one can tell by now. */
  #isOneMessage(): boolean {
    const { isEnveloped, readMaxBytes } = this.#options;
    if (!isEnveloped) return this.#bytes <= readMaxBytes;
    if (this.#bytes < ENVELOPE_HEAD_BYTES) return true;
    this.#messageBytes ??= Buffer.concat(this.#pieces).readUInt32BE(1);
    return this.#messageBytes <= readMaxBytes && this.#bytes <= ENVELOPE_HEAD_BYTES + this.#messageBytes;
  }

  #take(): Uint8Array {
    const [first = Buffer.alloc(0), ...others] = this.#pieces;
    this.#pieces = [];
    return others.length === 0 ? first : Buffer.concat([first, ...others], this.#bytes);
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#pieces = [];
    await this.#inner.return?.();
    return { done: true, value: undefined };
  }
}
