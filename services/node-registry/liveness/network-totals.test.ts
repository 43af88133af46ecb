import fc from "fast-check";
import { expect, test } from "vitest";
import { createExactSum } from "./network-totals.ts";

test("sums are exact whatever nodes claim, up to the largest int64", () => {
  const figure = fc.maxSafeNat();
  fc.assert(
    fc.property(fc.array(figure, { maxLength: 900, size: "max" }), (values) => {
      const sum = createExactSum();
      for (const value of values) sum.add(value);
      expect(sum.total()).toBe(values.reduce((all, value) => all + BigInt(value), 0n));
    }),
  );
  const absurd = createExactSum();
  for (let count = 0; count < 2_000; count += 1) absurd.add(Number.MAX_SAFE_INTEGER);
  expect(absurd.total()).toBe(2n ** 63n - 1n);
});
