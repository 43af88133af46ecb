import { expect, test } from "vitest";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createNodeTable } from "../directory/node-table.ts";
import { createPlacer } from "./placer.ts";

test("what is assigned while all nodes are being read is counted until the next reading has seen it", () => {
  const placer = createPlacer({ view: createNodeTable(), clock: new ManualClock(), random: Math.random });
  placer.assigned(1n, 100);
  placer.readingAssigned();
  placer.assigned(1n, 20);
  placer.assigned(2n, 3);
  placer.replaceAssigned(new Map([[1n, 100]]));
  expect([placer.assignedBytesOf(1n), placer.assignedBytesOf(2n)]).toEqual([120, 3]);
  placer.readingAssigned();
  placer.replaceAssigned(new Map([[1n, 120]]));
  expect([placer.assignedBytesOf(1n), placer.assignedBytesOf(2n)]).toEqual([120, 0]);
});
