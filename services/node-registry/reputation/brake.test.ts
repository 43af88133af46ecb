import { expect, test } from "vitest";
import { isMassFailure } from "./brake.ts";

test("few nodes may always be shut out, and many while they are a small part", () => {
  expect(isMassFailure({ failing: 4, nodes: 4 })).toBe(false);
  expect(isMassFailure({ failing: 5, nodes: 16 })).toBe(true);
  expect(isMassFailure({ failing: 5, nodes: 17 })).toBe(false);
  expect(isMassFailure({ failing: 3_000, nodes: 10_000 })).toBe(false);
  expect(isMassFailure({ failing: 3_001, nodes: 10_000 })).toBe(true);
});
