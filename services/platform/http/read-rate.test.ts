import { expect, test } from "vitest";
import { createReadRate } from "./read-rate.ts";

test("a second's worth is read at once, and what is more in the order of payment", async () => {
  let nowMs = 5_000;
  const rate = createReadRate(1_000, () => nowMs);
  expect(rate.pay(600)).toBeUndefined();
  expect(rate.debtMs()).toBe(600);
  const order: string[] = [];
  const first = rate.pay(420)?.then(() => order.push("first"));
  const second = rate.pay(20)?.then(() => order.push("second"));
  expect(first).toBeDefined();
  await Promise.all([second, first]);
  expect(order).toEqual(["first", "second"]);
  nowMs += 1_040;
  expect(rate.debtMs()).toBe(0);
  expect(rate.pay(1_000)).toBeUndefined();
  expect(rate.pay(1)).toBeDefined();
});
