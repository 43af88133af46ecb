import type { ConnectError } from "@connectrpc/connect";
import { toConnectError } from "#platform/rpc/details.ts";
import { overloaded } from "#platform/rpc/errors.ts";
import { createReadRate, type ReadRate } from "./read-rate.ts";

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

export interface BodyBudget {
  /** For a body from `address`. `refuse` is called at most once, while it is counted: its pieces are to be let go. */
  open(address: string, refuse: (error: ConnectError) => void): CountedBody;
}

/** A body that is on its way. */
export interface CountedBody {
  /** Counts a piece that has come. Resolves when the next one may be read; undefined where that is at once. */
  add(bytes: number): Promise<void> | undefined;
  /** It is complete, or given up. What still comes of it is paid for, and not counted. */
  release(): void;
}

export interface BodyLimits {
  readonly maxBytes: number;
  readonly maxBytesPerAddress: number;
  /** How fast the large bodies of one address are read; as much as one second brings is read at once. */
  readonly maxBytesPerSecond: number;
}

/** What is held together, by everybody or by one address. */
interface Held {
  readonly open: Set<Counted>;
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
 * bytes of a request that is refused in the end have been read as well.
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
  return {
    open: (address, refuse) => {
      const ofAddress = byAddress.get(address) ?? newHeld(maxBytesPerSecond);
      byAddress.set(address, ofAddress);
      const counted = new Counted({
        rate: ofAddress.rate,
        refuse,
        hold: (own, bytes) => {
          for (const held of [ofAddress, all]) held.bytes += bytes;
          if (ofAddress.bytes > maxBytesPerAddress) largestOf(own, ofAddress.open).refuse(TOO_MUCH);
          if (all.bytes > maxBytes) largestOf(own, all.open).refuse(TOO_MUCH);
        },
        release: (own) => {
          if (!all.open.delete(own)) return false;
          ofAddress.open.delete(own);
          for (const held of [ofAddress, all]) held.bytes -= own.bytes;
          forget(address, ofAddress);
          return true;
        },
      });
      for (const held of [ofAddress, all]) held.open.add(counted);
      return counted;
    },
  };
}

const TOO_MUCH = "too many large requests at once, try again";

function newHeld(maxBytesPerSecond: number): HeldByAddress {
  return { open: new Set(), bytes: 0, rate: createReadRate(maxBytesPerSecond) };
}

function largestOf(newest: Counted, open: ReadonlySet<Counted>): Counted {
  return [...open.values().take(CANDIDATES)].reduce((a, b) => (b.bytes > a.bytes ? b : a), newest);
}

interface Account {
  readonly rate: ReadRate;
  readonly refuse: (error: ConnectError) => void;
  readonly hold: (own: Counted, bytes: number) => void;
  /** False where it was released before. */
  readonly release: (own: Counted) => boolean;
}

class Counted implements CountedBody {
  bytes = 0;
  #chunks = 0;
  #isReleased = false;
  readonly #account: Account;

  constructor(account: Account) {
    this.#account = account;
  }

  add(bytes: number): Promise<void> | undefined {
    if (!this.#isReleased) this.#hold(bytes);
    return this.bytes > SMALL_BYTES ? this.#account.rate.pay(bytes) : undefined;
  }

  #hold(bytes: number): void {
    this.#chunks += 1;
    this.bytes += bytes + CHUNK_BYTES;
    this.#account.hold(this, bytes + CHUNK_BYTES);
    const isTiny = this.bytes < this.#chunks * (CHUNK_BYTES + TINY_CHUNK_BYTES);
    if (this.#chunks > MANY_CHUNKS && isTiny) this.refuse("the request comes in too many tiny pieces");
  }

  refuse(message: string): void {
    if (this.release()) this.#account.refuse(toConnectError(overloaded(message, RETRY_AFTER_MS)));
  }

  release(): boolean {
    this.#isReleased = true;
    return this.#account.release(this);
  }
}
