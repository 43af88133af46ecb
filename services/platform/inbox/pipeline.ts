import type { BatchUnderWay } from "./batch.ts";
import type { DeliveredEvent } from "./delivered-event.ts";

/**
 * Every transaction holds a share lock on the consumer's lease, and PostgreSQL lets new ones in past a renewal that waits:
 * now and then there must be a moment without any. After so many batches, or sooner where each takes long.
 */
const MOST_IN_A_ROW = 16;

export interface Pipeline {
  /** Begins a batch, and resolves when the next one may be begun. */
  push(events: readonly DeliveredEvent[]): Promise<void>;
  /** Waits for what is under way; what failed is done again. */
  settle(): Promise<void>;
  /** Waits for what is under way, and leaves it at that. */
  drain(): Promise<void>;
}

/**
 * Two batches of one consumer at a time, so that the database writes one while the process prepares the other. They commit
 * in order. When one fails, the other is undone too and both are done again one after the other by `redo`, which tells
 * failures apart. For `longestMs` at most it is never without a transaction.
 */
export function createPipeline(
  start: (events: readonly DeliveredEvent[], before: BatchUnderWay | undefined) => BatchUnderWay,
  redo: (events: readonly DeliveredEvent[]) => Promise<void>,
  { monotonicMs, longestMs }: { readonly monotonicMs: () => number; readonly longestMs: number },
): Pipeline {
  let underWay: BatchUnderWay | undefined;
  let inARow = 0;
  let settledAt = monotonicMs();
  const redoAll = async (batches: readonly BatchUnderWay[]) => {
    underWay = undefined;
    for (const { events } of batches) await redo(events);
  };
  const settle = async () => {
    const batch = underWay;
    inARow = 0;
    await batch?.ended;
    if (batch !== undefined && !(await batch.committed)) await redoAll([batch]);
    underWay = undefined;
    settledAt = monotonicMs();
  };
  return {
    push: async (events) => {
      if (underWay === undefined) settledAt = monotonicMs();
      inARow += 1;
      if (inARow > MOST_IN_A_ROW || monotonicMs() - settledAt > longestMs) await settle();
      const before = underWay;
      const batch = start(events, before);
      underWay = batch;
      await before?.ended;
      if (before === undefined || (await before.committed)) {
        await batch.begun;
        return;
      }
      await batch.ended;
      await redoAll([before, batch]);
    },
    settle,
    drain: async () => underWay?.ended,
  };
}
