import { expect, test } from "vitest";
import type { BatchUnderWay } from "./batch.ts";
import { createPipeline } from "./pipeline.ts";

/** Batches that take so long, one behind the other, on a clock of the test's own; tells how long one was always open. */
async function longestRun(batchMs: number, longestMs: number, batches: number): Promise<number> {
  let [now, open, openSince, longest] = [0, 0, 0, 0];
  const start = (events: BatchUnderWay["events"], before: BatchUnderWay | undefined): BatchUnderWay => {
    if (open === 0) openSince = now;
    open += 1;
    const work = async () => {
      await before?.ended;
      // The one behind begins before this one ends.
      for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
      now += batchMs;
      open -= 1;
      if (open === 0) longest = Math.max(longest, now - openSince);
      return true;
    };
    const committed = work();
    const ended = committed.then(() => {});
    return { events, committed, begun: Promise.resolve(), locked: Promise.resolve(), ended };
  };
  const redo = () => Promise.reject(new Error("nothing failed"));
  const pipeline = createPipeline(start, redo, { monotonicMs: () => now, longestMs });
  for (let batch = 0; batch < batches; batch += 1) await pipeline.push([]);
  await pipeline.settle();
  return longest;
}

test("there is a moment without a transaction every few batches, and sooner where batches are slow", async () => {
  const ofFast = await longestRun(10, 1_600, 100);
  expect(ofFast).toBeGreaterThan(100);
  expect(ofFast).toBeLessThanOrEqual(170);
  expect(await longestRun(700, 1_600, 100)).toBeLessThanOrEqual(1_600 + 2 * 700);
});
