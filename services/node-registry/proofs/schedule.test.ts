import fc from "fast-check";
import { expect, test } from "vitest";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createReception } from "./reception.ts";
import { createBudget, nextProofDelayMs, type ProofPace } from "./schedule.ts";
import { carried, isOverdue, notCarried, type Waiting } from "./waiting.ts";

const pace: ProofPace = { intervalMs: 86_400_000, retryMs: 120_000, firstWithinMs: 3_600_000 };
const established = { reputationScore: 1, isOnProbation: false };

test("new nodes and nodes with a low score are asked sooner, none never and none all the time", () => {
  const at = (subject: typeof established) => nextProofDelayMs(pace, subject, () => 0.5);
  expect(at(established)).toBe(pace.intervalMs);
  expect(at({ ...established, reputationScore: 0.7 })).toBe(Math.round(pace.intervalMs * 0.49));
  expect(at({ ...established, isOnProbation: true })).toBe(pace.intervalMs / 4);
  expect(at({ reputationScore: 0.3, isOnProbation: true })).toBe(pace.intervalMs * 0.1);
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.boolean(),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (reputationScore, isOnProbation, point) => {
        const delay = nextProofDelayMs(pace, { reputationScore, isOnProbation }, () => point);
        expect(delay).toBeGreaterThanOrEqual(pace.intervalMs * 0.05);
        expect(delay).toBeLessThanOrEqual(pace.intervalMs * 1.5);
      },
    ),
  );
});

test("replicas that were stored in one moment are due evenly after a few rounds", () => {
  let seed = 1;
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const due = Array.from({ length: 20_000 }, () => 0);
  for (let round = 0; round < 8; round += 1) {
    for (const [index, at] of due.entries()) due[index] = at + nextProofDelayMs(pace, established, random);
  }
  // In the middle of the spread no tenth of an interval has twice its share.
  const slots = new Map<number, number>();
  for (const at of due) {
    const slot = Math.floor((at - 7.5 * pace.intervalMs) / (pace.intervalMs / 10));
    if (slot >= 0 && slot < 10) slots.set(slot, (slots.get(slot) ?? 0) + 1);
  }
  const counts = [...slots.values()];
  const mean = counts.reduce((sum, count) => sum + count, 0) / 10;
  expect(counts).toHaveLength(10);
  for (const count of counts) expect(count).toBeLessThan(2 * mean);
});

test("a budget never gives more than its rate, after whatever idle time", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ ms: fc.integer({ min: 0, max: 5_000 }), wanted: fc.integer({ min: 0, max: 500 }) }), {
        maxLength: 50,
        size: "max",
      }),
      async (steps) => {
        const clock = new ManualClock();
        const budget = createBudget(clock, 100);
        let taken = 0;
        let elapsedMs = 0;
        for (const { ms, wanted } of steps) {
          await clock.advance(ms);
          elapsedMs += ms;
          taken += budget.take(wanted);
        }
        expect(taken).toBeLessThanOrEqual(100 + elapsedMs / 10);
      },
    ),
    { numRuns: 50 },
  );
});

test("what was not used is there again", () => {
  const budget = createBudget(new ManualClock(), 10);
  expect(budget.take(8)).toBe(8);
  budget.giveBack(5);
  expect(budget.take(10)).toBe(7);
});

test("reception breaks when ticks stand still, when the machine slept and when an answer could not be taken", async () => {
  const clock = new ManualClock();
  const reception = createReception(clock, 250);
  await clock.advance(250);
  reception.tick();
  expect(reception.sinceMs()).toBe(0);
  await clock.advance(60_000);
  reception.tick();
  expect(reception.sinceMs()).toBe(60_250);
  clock.jump(3_600_000);
  await clock.advance(250);
  reception.tick();
  expect(reception.sinceMs()).toBe(60_500);
  await clock.advance(100);
  reception.broken();
  expect(reception.sinceMs()).toBe(60_600);
});

test("time counts only between heartbeats that carried the command, while we were listening", () => {
  const beats = (...at: number[]) => at.reduce((waiting: Waiting, ms) => carried(waiting, ms, 0, 20_000), notCarried);
  expect(isOverdue(notCarried, 0, 0)).toBe(false);
  expect(beats(1_000).witnessedMs).toBe(0);
  expect(beats(1_000, 16_000, 31_000).witnessedMs).toBe(30_000);
  // A node that was silent for an hour has had no hour to answer.
  expect(beats(1_000, 16_000, 3_616_000).witnessedMs).toBe(35_000);
  expect(isOverdue(beats(1_000, 16_000, 31_000), 30_000, 0)).toBe(true);
  // An interruption of ours gives the whole window anew, also one after the last heartbeat.
  expect(isOverdue(beats(1_000, 16_000, 31_000), 30_000, 32_000)).toBe(false);
  const interrupted = carried(beats(1_000, 16_000), 46_000, 30_000, 20_000);
  expect(interrupted.witnessedMs).toBe(0);
  expect(carried(interrupted, 56_000, 30_000, 20_000).witnessedMs).toBe(10_000);
});
