import { expect, test } from "vitest";
import { createBackoffs } from "./backoffs.ts";

test("pauses double up to a limit, with jitter in their upper half", () => {
  const latest = createBackoffs(100, 1_000, () => 1);
  const earliest = createBackoffs(100, 1_000, () => 0);
  const pauses = [latest, earliest].map((backoffs) =>
    [0, 1, 2, 3, 4, 5].map(() => {
      const until = backoffs.failed("key", 0);
      backoffs.resume(until);
      return until;
    }),
  );
  expect(pauses).toEqual([
    [100, 200, 400, 800, 1_000, 1_000],
    [50, 100, 200, 400, 500, 500],
  ]);
});

test("failures during a pause do not lengthen it, success ends the count", () => {
  const backoffs = createBackoffs(100, 1_000, () => 1);
  expect(backoffs.failed("key", 0)).toBe(100);
  expect(backoffs.failed("key", 50)).toBe(100);
  backoffs.resume(100);
  expect(backoffs.failed("key", 100)).toBe(300);
  backoffs.succeeded("key");
  expect(backoffs.isPaused("key")).toBe(true);
  backoffs.resume(300);
  expect(backoffs.failed("key", 1_000)).toBe(1_100);
});

test("a pause ends only when reading starts, so that a reading under way cannot let a later event pass", () => {
  const backoffs = createBackoffs(100, 1_000, () => 1);
  backoffs.failed("key", 0);
  expect(backoffs.nextAt()).toBe(100);
  expect(backoffs.isPaused("key")).toBe(true);
  expect(backoffs.resume(99)).toEqual(["key"]);
  expect(backoffs.resume(100)).toEqual([]);
  expect(backoffs.isPaused("key")).toBe(false);
});
