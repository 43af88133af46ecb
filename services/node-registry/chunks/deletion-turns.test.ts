import { expect, test } from "vitest";
import { type LoadedDeletions, nextToLoad } from "./deletion-turns.ts";

test("nodes that change in every round take turns with the others", () => {
  const loaded: LoadedDeletions = new Map();
  const turns: bigint[] = [];
  for (let round = 1; round <= 4; round += 1) {
    const nodes = new Map([1n, 2n, 3n, 4n].map((rowId) => [rowId, { change: String(round) }]));
    for (const [rowId, { change }] of nextToLoad(nodes, loaded, 2)) {
      loaded.set(rowId, { change, atMs: round * 1_000 });
      turns.push(rowId);
    }
  }
  expect(turns).toEqual([1n, 2n, 3n, 4n, 1n, 2n, 3n, 4n]);
});

test("a node without changes is not read again", () => {
  const loaded: LoadedDeletions = new Map([[1n, { change: "5", atMs: 1_000 }]]);
  expect(nextToLoad(new Map([[1n, { change: "5" }]]), loaded, 10)).toEqual([]);
  expect(nextToLoad(new Map([[1n, { change: "6" }]]), loaded, 10)).toHaveLength(1);
});
