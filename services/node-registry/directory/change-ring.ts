/** One change as watchers get it; `node` is encoded, null when the node was removed. */
export interface LoggedChange {
  readonly revision: bigint;
  readonly nodeId: string;
  readonly node: Uint8Array | null;
}

/**
 * The newest changes in memory, in order and without gaps. Watchers read from it by position and hold nothing of their
 * own, so a slow one costs nothing: it is overtaken.
 */
export interface ChangeRing {
  /** Revision of the newest change; 0 before the first. */
  readonly head: bigint;
  /** Changes after this revision are all here. */
  readonly compacted: bigint;
  push(change: LoggedChange): void;
  /** Undefined when it is compacted or not there yet. */
  at(revision: bigint): LoggedChange | undefined;
  /** Forgets everything: the ring goes on behind this revision. */
  start(revision: bigint): void;
  /** Resolves at the next push after this revision, or when the signal aborts. */
  pushedAfter(revision: bigint, signal: AbortSignal): Promise<void>;
  notify(): void;
}

export function createChangeRing(capacity: number): ChangeRing {
  const slots: (LoggedChange | undefined)[] = [];
  const waiters = new Set<() => void>();
  const state = { head: 0n, compacted: 0n };

  return {
    get head() {
      return state.head;
    },
    get compacted() {
      return state.compacted;
    },
    start: (revision) => {
      slots.length = 0;
      state.head = revision;
      state.compacted = revision;
    },
    push: (change) => {
      slots[Number(change.revision % BigInt(capacity))] = change;
      state.head = change.revision;
      const oldest = change.revision - BigInt(capacity);
      if (oldest > state.compacted) state.compacted = oldest;
    },
    at: (revision) => {
      if (revision <= state.compacted || revision > state.head) return undefined;
      return slots[Number(revision % BigInt(capacity))];
    },
    pushedAfter: (revision, signal) => {
      if (state.head > revision || signal.aborted) return Promise.resolve();
      const waiting = Promise.withResolvers<void>();
      const done = () => {
        waiters.delete(done);
        signal.removeEventListener("abort", done);
        waiting.resolve();
      };
      waiters.add(done);
      signal.addEventListener("abort", done, { once: true });
      return waiting.promise;
    },
    notify: () => {
      for (const waiter of [...waiters]) waiter();
    },
  };
}
