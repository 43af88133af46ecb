import { expect, test } from "vitest";
import { createChangeGuard } from "./change-guard.ts";

test("a node changes five times at once, then once in ten seconds, and another one as it likes", () => {
  const admits = createChangeGuard(5);
  const [node, other] = [{}, {}];
  const at = (nowMs: number) => admits(node, nowMs);
  expect(Array.from({ length: 7 }, () => at(100_000))).toEqual([true, true, true, true, true, false, false]);
  expect([at(109_000), at(110_001), at(110_002)]).toEqual([false, true, false]);
  expect(admits(other, 110_002)).toBe(true);
});
