import { toConnectError } from "#platform/rpc/details.ts";
import { overloaded } from "#platform/rpc/errors.ts";

const RETRY_AFTER_MS = 1_000;
// A look at every body would itself be work that a client asks for with one byte.
const CANDIDATES = 64;

// What a chunk takes besides its bytes. A body that comes byte by byte would otherwise take a hundred times what is counted.
const CHUNK_BYTES = 1_024;

// No transport of an honest client makes pieces of a few bytes by the thousand: each costs as much as a full one.
const MANY_CHUNKS = 1_000;
const TINY_CHUNK_BYTES = 64;

/** Counts the bytes of one body as they come, and gives them on. */
export type BodyBudget = (body: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;

/**
 * Bounds the memory that requests under way take together, over all connections: the limit of one message times the
 * number of streams and connections would be more than any machine has. Where the sum passes `maxBytes`, the largest of
 * the oldest bodies is refused with RESOURCE_EXHAUSTED, and not the one that came last: who sends slowly holds memory
 * for long, and an honest request is small and soon complete.
 */
export function createBodyBudget(maxBytes: number): BodyBudget {
  const open = new Set<CountedBody>();
  let total = 0;
  const add = (own: CountedBody, bytes: number) => {
    total += bytes;
    own.bytes += bytes;
    if (total > maxBytes) largestOf(own, open).refuse();
  };
  const release = (own: CountedBody) => {
    if (open.delete(own)) total -= own.bytes;
  };
  return (body) => ({
    [Symbol.asyncIterator]: () => {
      const counted = new CountedBody(body[Symbol.asyncIterator](), add, release);
      open.add(counted);
      return counted;
    },
  });
}

function largestOf(newest: CountedBody, open: ReadonlySet<CountedBody>): CountedBody {
  return [...open.values().take(CANDIDATES)].reduce((a, b) => (b.bytes > a.bytes ? b : a), newest);
}

class CountedBody implements AsyncIterator<Uint8Array, undefined> {
  bytes = 0;
  #chunks = 0;
  readonly #inner: AsyncIterator<Uint8Array>;
  readonly #add: (own: CountedBody, bytes: number) => void;
  readonly #release: (own: CountedBody) => void;
  #refusal: Error | undefined;
  #waiting: ((reason: unknown) => void) | undefined;

  constructor(
    inner: AsyncIterator<Uint8Array>,
    add: (own: CountedBody, bytes: number) => void,
    release: (own: CountedBody) => void,
  ) {
    this.#inner = inner;
    this.#add = add;
    this.#release = release;
  }

  refuse(message = "too many large requests at once, try again"): void {
    this.#refusal ??= toConnectError(overloaded(message, RETRY_AFTER_MS));
    this.#release(this);
    this.#waiting?.(this.#refusal);
  }

  #take({ byteLength }: Uint8Array): void {
    this.#chunks += 1;
    this.#add(this, byteLength + CHUNK_BYTES);
    const isTiny = this.bytes < this.#chunks * (CHUNK_BYTES + TINY_CHUNK_BYTES);
    if (this.#chunks <= MANY_CHUNKS || !isTiny) return;
    this.refuse("the request comes in too many tiny pieces");
    // Lets go of the pieces that wait to be read; the connection ends with the time limit of its request.
    this.#inner.return?.().catch(() => {});
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal);
    return new Promise((resolve, reject) => {
      this.#waiting = reject;
      this.#inner.next().then(
        (result) => {
          if (result.done === true) this.#release(this);
          else if (this.#refusal === undefined) this.#take(result.value);
          if (this.#refusal !== undefined) reject(this.#refusal);
          else resolve(result);
        },
        (error: unknown) => {
          this.#release(this);
          reject(error);
        },
      );
    });
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#release(this);
    await this.#inner.return?.();
    return { done: true, value: undefined };
  }
}
