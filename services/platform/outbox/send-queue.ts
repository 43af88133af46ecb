export interface Queued {
  readonly id: bigint;
  readonly key: string;
  readonly key_version: bigint;
}

/** So many keys are remembered with the last of their versions that went through here. */
const REMEMBERED_KEYS = 16_384;

/** What the relay holds between the commit or the reading of a row and its marking. */
export interface SendQueue<R extends Queued> {
  /** Everything in memory, acknowledged rows included: a reading that starts now must leave it out. */
  startReading(): bigint[];
  /** What was read, in the order of the ids. Rows that were marked meanwhile may be among it, and are known. */
  endReading(rows: readonly R[]): void;
  /** A row that was not read: taken where it can be no other than the next of its key, otherwise false. */
  offer(row: R): boolean;
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
  // Of a key whose rows are dropped nothing is remembered: a reading finds which of them comes first.
  const lastVersions = new Map<string, bigint>();
  let ready: string[] = [];
  let inFlight = 0;
  let isReading = false;
  let forgottenWhileReading: bigint[] = [];

  const dropWaiting = (key: string, state: KeyState<R>, condition: (row: R) => boolean) => {
    const kept = state.waiting.filter((row) => !condition(row));
    if (kept.length < state.waiting.length) lastVersions.delete(key);
    for (const row of state.waiting) if (condition(row)) held.delete(row.id);
    state.waiting = kept;
    if (kept.length === 0 && !state.isInFlight) keys.delete(key);
  };
  const remember = ({ key, key_version }: R) => {
    lastVersions.delete(key);
    lastVersions.set(key, key_version);
    if (lastVersions.size <= REMEMBERED_KEYS) return;
    for (const [oldest] of lastVersions) {
      lastVersions.delete(oldest);
      return;
    }
  };
  const hold = (row: R) => {
    held.add(row.id);
    remember(row);
    const state = keys.get(row.key);
    if (state !== undefined) state.waiting.push(row);
    else {
      keys.set(row.key, { waiting: [row], isInFlight: false });
      ready.push(row.key);
    }
  };
  const landed = (row: R): KeyState<R> | undefined => {
    const state = keys.get(row.key);
    if (state === undefined || !state.isInFlight) return undefined;
    state.isInFlight = false;
    inFlight -= 1;
    return state;
  };

  return {
    startReading: () => {
      isReading = true;
      return [...held];
    },
    endReading: (rows) => {
      for (const row of rows) if (!held.has(row.id)) hold(row);
      for (const id of forgottenWhileReading) held.delete(id);
      forgottenWhileReading = [];
      isReading = false;
    },
    offer: (row) => {
      if (held.has(row.id)) return true;
      if (row.key_version !== (lastVersions.get(row.key) ?? 0n) + 1n) return false;
      hold(row);
      return true;
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
      lastVersions.delete(row.key);
      dropWaiting(row.key, state, () => true);
    },
    dropWaiting: (condition) => {
      for (const [key, state] of keys) dropWaiting(key, state, condition);
    },
    forget: (ids) => {
      for (const id of ids) {
        if (isReading) forgottenWhileReading.push(id);
        else held.delete(id);
      }
    },
    get size() {
      return held.size;
    },
    get inFlight() {
      return inFlight;
    },
  };
}
