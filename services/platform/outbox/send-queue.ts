export interface Queued {
  readonly id: bigint;
  readonly key: string;
}

/** What the relay holds between reading a row and marking it. */
export interface SendQueue<R extends Queued> {
  /** Rows in the order of their ids; within a key, later than what is held already. */
  add(rows: readonly R[]): void;
  /** The next rows to send, at most one of each key, none of a key that has one in flight. */
  take(limit: number): R[];
  /** Stored by the broker: the key's next row may go. */
  acknowledged(row: R): void;
  /** The key stops: this row and the rest of its key are dropped, to be read again later. */
  failed(row: R): void;
  /** Drops what is not in flight. */
  dropWaiting(condition: (row: R) => boolean): void;
  /** Marked in the database, or no longer ours to mark. */
  forget(ids: Iterable<bigint>): void;
  /** Everything in memory, acknowledged rows included: reading must leave it out. */
  heldIds(): bigint[];
  readonly size: number;
  readonly inFlight: number;
}

interface KeyState<R> {
  waiting: R[];
  isInFlight: boolean;
}

/**
 * Two rows of one key are never in flight together, so a key's order survives failures and repeats; different keys do not
 * wait for each other.
 */
export function createSendQueue<R extends Queued>(): SendQueue<R> {
  const held = new Set<bigint>();
  const keys = new Map<string, KeyState<R>>();
  let ready: string[] = [];
  let inFlight = 0;

  const dropWaiting = (key: string, state: KeyState<R>, condition: (row: R) => boolean) => {
    const kept = state.waiting.filter((row) => !condition(row));
    for (const row of state.waiting) if (condition(row)) held.delete(row.id);
    state.waiting = kept;
    if (kept.length === 0 && !state.isInFlight) keys.delete(key);
  };
  const landed = (row: R): KeyState<R> | undefined => {
    const state = keys.get(row.key);
    if (state === undefined || !state.isInFlight) return undefined;
    state.isInFlight = false;
    inFlight -= 1;
    return state;
  };

  return {
    add: (rows) => {
      for (const row of rows) {
        if (held.has(row.id)) continue;
        held.add(row.id);
        const state = keys.get(row.key);
        if (state !== undefined) state.waiting.push(row);
        else {
          keys.set(row.key, { waiting: [row], isInFlight: false });
          ready.push(row.key);
        }
      }
    },
    take: (limit) => {
      const taken: R[] = [];
      let looked = 0;
      for (; looked < ready.length && taken.length < limit; looked += 1) {
        const state = keys.get(ready[looked] ?? "");
        if (state === undefined || state.isInFlight) continue;
        const row = state.waiting.shift();
        if (row === undefined) continue;
        state.isInFlight = true;
        taken.push(row);
      }
      ready = ready.slice(looked);
      inFlight += taken.length;
      return taken;
    },
    acknowledged: (row) => {
      const state = landed(row);
      if (state === undefined) return;
      if (state.waiting.length > 0) ready.push(row.key);
      else keys.delete(row.key);
    },
    failed: (row) => {
      const state = landed(row);
      if (state === undefined) return;
      held.delete(row.id);
      dropWaiting(row.key, state, () => true);
    },
    dropWaiting: (condition) => {
      for (const [key, state] of keys) dropWaiting(key, state, condition);
    },
    forget: (ids) => {
      for (const id of ids) held.delete(id);
    },
    heldIds: () => [...held],
    get size() {
      return held.size;
    },
    get inFlight() {
      return inFlight;
    },
  };
}
