import fc from "fast-check";
import { expect, test } from "vitest";
import { isCut } from "./together.ts";

const HOUR = 3_600_000;

test("six of ten nodes that fall silent within the window are a cut, for each of them", () => {
  const silentSinceMs = [0, 1_000, 2_000, HOUR - 2, HOUR - 1, HOUR];
  for (const sinceMs of silentSinceMs) expect(isCut({ heard: 4, silentSinceMs }, sinceMs, HOUR)).toBe(true);
});

test("nodes that leave one after the other are no cut, even when hardly any are left", () => {
  const silentSinceMs = Array.from({ length: 50 }, (_, index) => index * 3 * HOUR);
  for (const sinceMs of silentSinceMs) expect(isCut({ heard: 3, silentSinceMs }, sinceMs, HOUR)).toBe(false);
});

test("fewer than five, or at most 30 %, are no cut", () => {
  expect(isCut({ heard: 0, silentSinceMs: [0, 0, 0, 0] }, 0, HOUR)).toBe(false);
  expect(isCut({ heard: 14, silentSinceMs: [0, 0, 0, 0, 0, 0] }, 0, HOUR)).toBe(false);
  expect(isCut({ heard: 13, silentSinceMs: [0, 0, 0, 0, 0, 0] }, 0, HOUR)).toBe(true);
});

test("counts exactly those within the window", () => {
  const times = fc.array(fc.integer({ min: 0, max: 100 }), { maxLength: 60, size: "max" });
  fc.assert(
    fc.property(times, fc.nat(100), fc.nat(40), fc.nat(60), (unsorted, sinceMs, windowMs, heard) => {
      const silentSinceMs = unsorted.toSorted((a, b) => a - b);
      const together = unsorted.filter((ms) => Math.abs(ms - sinceMs) <= windowMs).length;
      const expected = together >= 5 && together > 0.3 * (heard + together);
      expect(isCut({ heard, silentSinceMs }, sinceMs, windowMs)).toBe(expected);
    }),
  );
});
