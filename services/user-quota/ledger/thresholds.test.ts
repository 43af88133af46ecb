import fc from "fast-check";
import { expect, test } from "vitest";
import { crossedThresholds, crossingOf, thresholds } from "./thresholds.ts";

test.each([
  ["below all", 0, 79n, 0, []],
  ["exactly at the first", 0, 80n, 80, [80]],
  ["over two at once", 0, 95n, 90, [80, 90]],
  ["over all at once", 0, 250n, 100, [80, 90, 100]],
  ["the next one", 80, 90n, 90, [90]],
  ["still above", 80, 81n, 80, []],
  ["below, but not by five points", 80, 75n, 80, []],
  ["five points below", 80, 74n, 0, []],
  ["the highest is re-armed alone", 100, 94n, 90, []],
  ["two are re-armed", 100, 84n, 80, []],
  ["all are re-armed", 100, 0n, 0, []],
  ["an anomaly below zero", 80, -5n, 0, []],
])("of a limit of 100: %s", (_name, level, used, after, crossed) => {
  expect(crossingOf(level, used, 100n)).toEqual({ level: after, crossed });
});

test("a limit of 0 is passed by the first byte, and by no byte fewer", () => {
  expect(crossingOf(0, 0n, 0n)).toEqual({ level: 0, crossed: [] });
  expect(crossingOf(0, 1n, 0n)).toEqual({ level: 100, crossed: [80, 90, 100] });
  expect(crossingOf(100, 0n, 0n)).toEqual({ level: 0, crossed: [] });
});

test("the largest numbers do not overflow", () => {
  const huge = 2n ** 63n - 1n;
  expect(crossingOf(0, huge, huge).level).toBe(100);
});

test("between two announcements of one threshold the use fell five points below it", () => {
  fc.assert(
    fc.property(fc.array(fc.bigInt({ min: -50n, max: 1_200n }), { maxLength: 200, size: "max" }), (uses) => {
      const armed = new Map(thresholds.map((percent) => [percent, true]));
      let level = 0;
      for (const used of uses) {
        const { crossed, level: next } = crossingOf(level, used, 1_000n);
        for (const percent of thresholds) {
          if (used < BigInt(percent - 5) * 10n) armed.set(percent, true);
          const isDue = armed.get(percent) === true && used >= BigInt(percent) * 10n;
          expect(crossed.includes(percent)).toBe(isDue);
          if (isDue) armed.set(percent, false);
        }
        expect(crossedThresholds(next)).toEqual(thresholds.filter((percent) => armed.get(percent) === false));
        level = next;
      }
    }),
  );
});
