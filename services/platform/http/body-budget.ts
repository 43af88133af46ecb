import { toConnectError } from "#platform/rpc/details.ts";
import { overloaded } from "#platform/rpc/errors.ts";
import { createReadRate, type ReadRate } from "./read-rate.ts";
import { createStartQueue } from "./start-queue.ts";

const RETRY_AFTER_MS = 1_000;
// A look at every body would itself be work that a client asks for with one byte.
const CANDIDATES = 64;

// What a chunk takes besides its bytes. A body that comes byte by byte would otherwise take a hundred times what is counted.
const CHUNK_BYTES = 1_024;

// Smaller bodies are read as they come: they must not wait for who sends megabytes from the same address.
const SMALL_BYTES = 32 * 1024;

// No transport of an honest client makes pieces of a few bytes by the thousand: each costs as much as a full one.
export const MANY_CHUNKS = 1_000;
export const TINY_CHUNK_BYTES = 64;

/** Counts the bytes of one body as they come, and gives them on. `address` is where the request comes from. */
export type BodyBudget = (body: AsyncIterable<Uint8Array>, address: string) => AsyncIterable<Uint8Array>;

export interface BodyLimits {
  readonly maxBytes: number;
  readonly maxBytesPerAddress: number;
  /** How fast the large bodies of one address are read; as much as one second brings is read at once. */
  readonly maxBytesPerSecond: number;
}

/** Ends a broken request when its turn comes, one address after the other. */
type Break = (address: Held, end: () => void) => void;

/** What is held together, by everybody or by one address. */
interface Held {
  readonly open: Set<CountedBody>;
  bytes: number;
}

interface HeldByAddress extends Held {
  readonly rate: ReadRate;
}

/**
 * Bounds the memory that requests under way take together, over all connections: the limit of one message times the
 * number of streams and connections would be more than any machine has. Where the sum passes a limit, the largest of
 * the oldest bodies that count towards it is refused with RESOURCE_EXHAUSTED, and not the one that came last: who sends
 * slowly holds memory for long, and an honest request is small and soon complete, also behind the address of an attacker.
 *
 * Large bodies of one address are read no faster than `maxBytesPerSecond`, by the flow control of their connections: the
 * bytes of a request that is refused in the end have been read as well, at 4 ms of processor time for each megabyte.
 */
export function createBodyBudget({ maxBytes, maxBytesPerAddress, maxBytesPerSecond }: BodyLimits): BodyBudget {
  const all: Held = { open: new Set(), bytes: 0 };
  const byAddress = new Map<string, HeldByAddress>();
  const forget = (address: string, held: HeldByAddress) => {
    if (held.open.size > 0 || byAddress.get(address) !== held) return;
    const debtMs = held.rate.debtMs();
    if (debtMs <= 0) byAddress.delete(address);
    // Who comes back with other connections has not paid by that.
    else setTimeout(forget, debtMs + 1, address, held).unref();
  };
  // A client that leaves breaks off all its requests at once, and the end of a call costs as much as its start: 320 of
  // them took 300 ms in one turn.
  const queue = createStartQueue();
  const breakOff: Break = (address, end) =>
    queue(address, () => {
      end();
      return true;
    });
  return (body, address) => ({
    [Symbol.asyncIterator]: () => {
      const ofAddress = byAddress.get(address) ?? newHeld(maxBytesPerSecond);
      byAddress.set(address, ofAddress);
      const add = (own: CountedBody, bytes: number) => {
        // Given up while a chunk was on its way: nobody would give its bytes back.
        if (!all.open.has(own)) return;
        own.bytes += bytes;
        for (const held of [ofAddress, all]) held.bytes += bytes;
        if (ofAddress.bytes > maxBytesPerAddress) largestOf(own, ofAddress.open).refuse();
        if (all.bytes > maxBytes) largestOf(own, all.open).refuse();
      };
      const release = (own: CountedBody) => {
        if (!all.open.delete(own)) return;
        ofAddress.open.delete(own);
        for (const held of [ofAddress, all]) held.bytes -= own.bytes;
        forget(address, ofAddress);
      };
      const counted = new CountedBody(body[Symbol.asyncIterator](), {
        add,
        release,
        breakOff: (end) => breakOff(ofAddress, end),
        rate: ofAddress.rate,
      });
      for (const held of [ofAddress, all]) held.open.add(counted);
      return counted;
    },
  });
}

function newHeld(maxBytesPerSecond: number): HeldByAddress {
  return { open: new Set(), bytes: 0, rate: createReadRate(maxBytesPerSecond) };
}

function largestOf(newest: CountedBody, open: ReadonlySet<CountedBody>): CountedBody {
  return [...open.values().take(CANDIDATES)].reduce((a, b) => (b.bytes > a.bytes ? b : a), newest);
}

interface BudgetOfBody {
  readonly add: (own: CountedBody, bytes: number) => void;
  readonly release: (own: CountedBody) => void;
  readonly breakOff: (end: () => void) => void;
  readonly rate: ReadRate;
}

class CountedBody implements AsyncIterator<Uint8Array, undefined> {
  bytes = 0;
  #chunks = 0;
  #unpaid = 0;
  readonly #inner: AsyncIterator<Uint8Array>;
  readonly #budget: BudgetOfBody;
  #refusal: Error | undefined;
  #waiting: ((reason: unknown) => void) | undefined;

  constructor(inner: AsyncIterator<Uint8Array>, budget: BudgetOfBody) {
    this.#inner = inner;
    this.#budget = budget;
  }

  refuse(message = "too many large requests at once, try again"): void {
    this.#refusal ??= toConnectError(overloaded(message, RETRY_AFTER_MS));
    this.#budget.release(this);
    this.#waiting?.(this.#refusal);
  }

  #take({ byteLength }: Uint8Array): void {
    this.#chunks += 1;
    this.#unpaid = byteLength;
    this.#budget.add(this, byteLength + CHUNK_BYTES);
    const isTiny = this.bytes < this.#chunks * (CHUNK_BYTES + TINY_CHUNK_BYTES);
    if (this.#chunks <= MANY_CHUNKS || !isTiny) return;
    this.refuse("the request comes in too many tiny pieces");
    // Lets go of the pieces that wait to be read; the connection ends with the time limit of its request.
    this.#inner.return?.().catch(() => {});
  }

  /** Pays for the piece before, where the body is a large one. */
  #read(): Promise<IteratorResult<Uint8Array>> {
    const turn = this.bytes > SMALL_BYTES ? this.#budget.rate.pay(this.#unpaid) : undefined;
    return turn === undefined ? this.#inner.next() : turn.then(() => this.#inner.next());
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal);
    return new Promise((resolve, reject) => {
      this.#waiting = reject;
      this.#read().then(
        (result) => {
          if (result.done === true) this.#budget.release(this);
          else if (this.#refusal === undefined) this.#take(result.value);
          if (this.#refusal !== undefined) reject(this.#refusal);
          else resolve(result);
        },
        (error: unknown) => {
          this.#budget.release(this);
          this.#budget.breakOff(() => reject(error));
        },
      );
    });
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#budget.release(this);
    await this.#inner.return?.();
    return { done: true, value: undefined };
  }
}
