import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { failpoint } from "#platform/failpoints/failpoints.ts";
import type { Connection, Pool, Transaction } from "#platform/postgres/pool.ts";
import { eventTraceparent } from "#platform/rpc/trace.ts";
import type { Clock } from "#platform/time/clock.ts";
import { uuidv7 } from "#platform/time/uuid.ts";
import { insertOutboxRows } from "./outbox.store.ts";
import type { OutboxEvent, OutboxRow } from "./outbox-event.ts";

export type { OutboxEvent } from "./outbox-event.ts";

export interface EventAddress {
  subject: string;
  key: string;
  keyVersion: bigint;
  clock: Clock;
  /** Default: the trace of the running call, or a new one. */
  traceparent?: string;
}

/** Encodes the message and gives it a time-ordered id (UUIDv7). Touches nothing, so a retried transaction may call it again. */
export function newEvent<D extends DescMessage>(schema: D, at: EventAddress, init: MessageInitShape<D>): OutboxEvent {
  const eventId = uuidv7(at.clock);
  return {
    eventId,
    subject: at.subject,
    key: at.key,
    keyVersion: at.keyVersion,
    type: schema.typeName,
    payload: toBinary(schema, create(schema, init)),
    traceparent: at.traceparent ?? eventTraceparent(eventId),
  };
}

/**
 * Where a service puts its events. `append` writes them in the caller's transaction with one statement, so that a change
 * and its events commit together or not at all. Append after taking the row lock of the aggregate: only then the order
 * of ids is the order of commits within a key, on which the relay relies.
 */
export interface Outbox {
  append(tx: Connection, events: readonly OutboxEvent[]): Promise<void>;
  /** What was appended in this transaction so far, and not taken yet. */
  takeAppended(tx: Connection): readonly OutboxRow[];
  /**
   * Tells the relay of this process, if there is one, that rows were committed: these, or some that it has to look for.
   * Never fails, costs nothing.
   */
  wake(committed?: readonly OutboxRow[]): void;
  /** Registers what `wake` calls (the relay); the answer takes it back. */
  onWake(listener: (committed?: readonly OutboxRow[]) => void): () => void;
}

export function createOutbox(schema: string): Outbox {
  const listeners = new Set<(committed?: readonly OutboxRow[]) => void>();
  const appended = new WeakMap<Connection, OutboxRow[]>();
  return {
    append: async (tx, events) => {
      if (events.length === 0) return;
      const rows = await insertOutboxRows(tx, schema, events);
      const before = appended.get(tx);
      if (before === undefined) appended.set(tx, rows);
      else before.push(...rows);
    },
    takeAppended: (tx) => {
      const rows = appended.get(tx) ?? [];
      appended.delete(tx);
      return rows;
    },
    wake: (committed) => {
      for (const listener of listeners) listener(committed);
    },
    onWake: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/**
 * One transaction whose events leave at once: the relay is woken after the commit instead of finding the rows by polling.
 * Slonik calls `work` again after a serialization failure or a deadlock, so `work` touches nothing but the database.
 */
export async function transact<T>(
  deps: { pool: Pool; outbox: Outbox },
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  const { worked, committed } = await deps.pool.transaction(async (tx) => {
    const worked = await work(tx);
    failpoint("commit.before");
    return { worked, committed: deps.outbox.takeAppended(tx) };
  });
  failpoint("commit.after");
  deps.outbox.wake(committed);
  return worked;
}
