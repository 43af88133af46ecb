import { expect, test } from "vitest";
import { type LoadedDeletions, nextToLoad } from "./deletion-turns.ts";

test("nodes whose numbers change in every round take turns with the others", () => {
  const loaded: LoadedDeletions = new Map();
  const turns: bigint[] = [];
  for (let round = 1; round <= 4; round += 1) {
    const nodes = new Map([1n, 2n, 3n, 4n].map((rowId) => [rowId, { pending: round }]));
    for (const [rowId, { pending }] of nextToLoad(nodes, loaded, round * 1_000, 2)) {
      loaded.set(rowId, { pending, atMs: round * 1_000 });
      turns.push(rowId);
    }
  }
  expect(turns).toEqual([1n, 2n, 3n, 4n, 1n, 2n, 3n, 4n]);
});

test("a number that stays is read again after half a minute", () => {
  const loaded: LoadedDeletions = new Map([[1n, { pending: 5, atMs: 1_000 }]]);
  const rowIdsAt = (nowMs: number) => nextToLoad(new Map([[1n, { pending: 5 }]]), loaded, nowMs, 10).map(([id]) => id);
  expect(rowIdsAt(30_999)).toEqual([]);
  expect(rowIdsAt(31_000)).toEqual([1n]);
});
