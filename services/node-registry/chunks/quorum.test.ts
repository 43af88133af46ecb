import { expect, test } from "vitest";
import { quorumOf } from "./quorum.ts";

test("a quorum is two thirds of the wanted replicas, never none and never more than all", () => {
  expect([1, 2, 3, 4, 5, 6].map(quorumOf)).toEqual([1, 2, 2, 3, 4, 4]);
  for (let wanted = 1; wanted <= 10; wanted += 1) {
    const quorum = quorumOf(wanted);
    expect(quorum).toBeGreaterThanOrEqual(1);
    expect(quorum).toBeLessThanOrEqual(wanted);
    expect(3 * quorum).toBeGreaterThanOrEqual(2 * wanted);
  }
});
