import fc from "fast-check";
import { expect, test } from "vitest";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createHashPace, failureAnswerMs } from "./failure-time.ts";

test("a failed login is answered at a multiple of the step that the hash's duration does not choose", () => {
  expect(failureAnswerMs(3, 30, 400)).toBe(400);
  expect(failureAnswerMs(3, 230, 400)).toBe(400);
  expect(failureAnswerMs(150, 180, 400)).toBe(800);
  expect(failureAnswerMs(150, 380, 400)).toBe(800);
  expect(failureAnswerMs(3, 401, 400)).toBe(800);
  expect(failureAnswerMs(3, 30, 0)).toBe(30);
  // On a busy machine all wait for what hashes take there, however long their own took.
  expect(failureAnswerMs(3, 60, 400, 500)).toBe(800);
  expect(failureAnswerMs(3, 560, 400, 500)).toBe(800);
  expect(failureAnswerMs(3, 60, 400, 60_000)).toBe(2_000);
  fc.assert(
    fc.property(fc.double({ min: 0, max: 5_000, noNaN: true }), (beganMs) => {
      const answers = [1, 24, 200, 299].map((hashMs) => failureAnswerMs(beganMs, beganMs + hashMs, 400));
      expect(new Set(answers).size).toBe(1);
      expect((answers[0] ?? 1) % 400).toBe(0);
    }),
  );
});

test("the pace is the slowest hash of late, and is forgotten by and by", async () => {
  const clock = new ManualClock();
  const pace = createHashPace(clock);
  pace.hashed(200);
  pace.hashed(30);
  expect(pace.slowestMs()).toBe(200);
  await clock.advance(60_000);
  expect(pace.slowestMs()).toBe(100);
  pace.hashed(90);
  expect(pace.slowestMs()).toBe(100);
  pace.hashed(150);
  expect(pace.slowestMs()).toBe(150);
});
