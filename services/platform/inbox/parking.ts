interface Keyed {
  readonly key: string;
}

export interface ParkedKey<E extends Keyed> {
  /** The failing event first, then the later ones of its key, in stream order. */
  readonly events: E[];
  tries: number;
  retryAt: number;
  cause: unknown;
}

/** Keys whose oldest event failed: it is tried again later, and the rest of the key waits behind it. */
export interface Parking<E extends Keyed> {
  park(event: E, failure: { tries: number; retryAt: number; cause: unknown }): void;
  /** Puts the event behind those of its key; false when the key is not parked. */
  follow(event: E): boolean;
  due(now: number): ParkedKey<E>[];
  /** Takes the first event off; the key is free when none is left. */
  advance(parked: ParkedKey<E>): void;
  nextAt(): number;
  readonly size: number;
}

export function createParking<E extends Keyed>(): Parking<E> {
  const keys = new Map<string, ParkedKey<E>>();
  let size = 0;
  return {
    park: (event, failure) => {
      keys.set(event.key, { events: [event], ...failure });
      size += 1;
    },
    follow: (event) => {
      if (size === 0) return false;
      const parked = keys.get(event.key);
      if (parked === undefined) return false;
      parked.events.push(event);
      size += 1;
      return true;
    },
    due: (now) => [...keys.values()].filter((parked) => parked.retryAt <= now),
    advance: (parked) => {
      const event = parked.events.shift();
      if (event === undefined) return;
      size -= 1;
      parked.tries = 0;
      if (parked.events.length === 0) keys.delete(event.key);
    },
    nextAt: () => Math.min(Number.POSITIVE_INFINITY, ...[...keys.values()].map(({ retryAt }) => retryAt)),
    get size() {
      return size;
    },
  };
}
