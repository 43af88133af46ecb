import { expect, test } from "vitest";
import { type Measured, verdictOf } from "./measured.ts";

const TARGET = "consumeRate"; // at least 15,000 per second
const run = (lowest: number, value: number, highest: number, more: Partial<Measured> = {}): Measured => {
  return { name: TARGET, lowest, value, highest, rounds: 3, ...more };
};

test("the long form is judged by the median of its rounds", () => {
  expect(verdictOf(run(14_000, 15_100, 16_000))).toBe("met");
  expect(verdictOf(run(14_000, 14_900, 16_000))).toBe("not met");
});

test("the short form judges only what enough rounds agree on", () => {
  const isShort = { isShort: true } as const;
  expect(verdictOf(run(15_100, 15_500, 16_000, isShort))).toBe("met");
  expect(verdictOf(run(13_000, 14_000, 14_900, isShort))).toBe("not met");
  expect(verdictOf(run(14_000, 15_100, 16_000, isShort))).toBe("not judged");
  expect(verdictOf(run(13_000, 13_000, 13_000, { ...isShort, rounds: 1 }))).toBe("not judged");
});

test("a figure that was measured at a smaller size says nothing about the target", () => {
  expect(verdictOf(run(1, 2, 3, { reducedTo: "10 users" }))).toBe("reduced");
});
