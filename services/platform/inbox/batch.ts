import { failpoint } from "#platform/failpoints/failpoints.ts";
import type { Lease } from "#platform/leadership/leadership.ts";
import type { ConsumerOptions } from "./consumer-options.ts";
import type { DeliveredEvent } from "./delivered-event.ts";
import { insertNew } from "./inbox.store.ts";
import { OutOfTurnError, type Turn } from "./turn.ts";

export interface Committing {
  readonly options: Pick<ConsumerOptions, "pool" | "schema" | "durable" | "apply">;
  readonly lease: Lease;
  /** The lease's name, compared with its epoch in every transaction. */
  readonly leaseName: string;
}

export interface Committed {
  /** Events that were new. */
  readonly applied: number;
  readonly afterCommit: readonly (() => void)[];
}

/** Somebody else consumes now: whatever this process still holds is theirs. */
export class DeposedError extends Error {
  override readonly name = "DeposedError";
}

export function inboxConsumerOf({ options, lease, leaseName }: Committing) {
  return { name: options.durable, lease: leaseName, epoch: lease.epoch };
}

/** What the pipeline hears of a transaction, and where it holds it up. */
interface Steps extends Turn {
  /** Called by each attempt: the pool repeats a transaction after a deadlock. */
  attempt(): void;
  /** The inbox rows are written. Resolves when the effect may begin. */
  inboxWritten(): Promise<unknown>;
}

const alone: Steps = {
  attempt: () => {},
  inboxWritten: async () => {},
  locked: () => {},
  predecessor: async () => {},
};

/** Inbox rows and effect in one transaction. */
export async function commitBatch(
  committing: Committing,
  events: readonly DeliveredEvent[],
  { attempt, inboxWritten, ...turn }: Steps = alone,
): Promise<Committed> {
  const { pool, schema, apply } = committing.options;
  return pool.transaction(async (tx) => {
    attempt();
    const inserted = await insertNew(tx, schema, inboxConsumerOf(committing), events);
    if (inserted === undefined) throw new DeposedError("another consumer leads");
    const isNew = new Set(inserted);
    await inboxWritten();
    // The stream may hold an event twice, within one batch even.
    const fresh = events.filter((event) => isNew.delete(event.eventId));
    const afterCommit: (() => void)[] = [];
    if (fresh.length > 0) await apply(tx, fresh, { ...turn, afterCommit: (work) => afterCommit.push(work) });
    await turn.predecessor();
    failpoint("consumer.before-commit");
    return { applied: fresh.length, afterCommit };
  });
}

/** A batch whose transaction is under way. Neither promise rejects. */
export interface BatchUnderWay {
  readonly events: readonly DeliveredEvent[];
  /** Whether its first attempt committed; known at the latest when it has ended. */
  readonly committed: Promise<boolean>;
  /** Its inbox rows are written, or it has ended: the next batch may write its own. */
  readonly begun: Promise<unknown>;
  /** It holds all its locks, or has ended. */
  readonly locked: Promise<unknown>;
  readonly ended: Promise<void>;
}

/**
 * Begins a batch behind another. Whatever goes wrong leaves it uncommitted, for the caller to take it up again alone, where
 * failures are told apart.
 */
export function startBatch(
  committing: Committing,
  events: readonly DeliveredEvent[],
  before: BatchUnderWay | undefined,
  onCommitted: (committed: Committed) => void,
): BatchUnderWay {
  const begun = Promise.withResolvers<void>();
  const locked = Promise.withResolvers<void>();
  const committed = Promise.withResolvers<boolean>();
  let attempts = 0;
  const steps: Steps = {
    attempt: () => {
      attempts += 1;
      // It gave its locks up and takes them anew: the batch behind must not hold any of them while it waits for this one.
      if (attempts > 1) committed.resolve(false);
    },
    inboxWritten: async () => {
      begun.resolve();
      await before?.locked;
    },
    locked: locked.resolve,
    predecessor: async () => {
      if (before !== undefined && !(await before.committed))
        throw new OutOfTurnError("the batch before did not commit");
    },
  };
  // Also what follows the commit may fail: then the batch is taken up again, finds nothing new, and is acknowledged.
  const ended = commitBatch(committing, events, steps)
    .then((result) => {
      onCommitted(result);
      committed.resolve(true);
    })
    .catch(() => committed.resolve(false));
  const orEnded = (promise: Promise<void>) => Promise.race([promise, ended]);
  return {
    events,
    committed: committed.promise,
    begun: orEnded(begun.promise),
    locked: orEnded(locked.promise),
    ended,
  };
}
