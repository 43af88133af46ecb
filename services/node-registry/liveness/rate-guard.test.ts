import { expect, test } from "vitest";
import { createRateGuard } from "./rate-guard.ts";

/** Sends so many per second for so many seconds; the second in which it is refused, if it is. */
function refusedInSecond(perSecond: number, seconds: number): number | undefined {
  const guard = createRateGuard();
  for (let second = 0; second < seconds; second += 1) {
    for (let index = 0; index < perSecond; index += 1) {
      if (!guard.admits(10_000 + second * 1_000 + (index * 1_000) / perSecond)) return second;
    }
  }
  return undefined;
}

test("50 per second is admitted for ever, more for 10 seconds", () => {
  expect(refusedInSecond(50, 60)).toBeUndefined();
  expect(refusedInSecond(51, 60)).toBe(10);
  expect(refusedInSecond(5_000, 60)).toBe(10);
});

test("one calm second begins the count anew", () => {
  const guard = createRateGuard();
  for (let second = 0; second < 40; second += 1) {
    const count = second % 9 === 8 ? 10 : 500;
    for (let index = 0; index < count; index += 1) expect(guard.admits(10_000 + second * 1_000 + index)).toBe(true);
  }
});
