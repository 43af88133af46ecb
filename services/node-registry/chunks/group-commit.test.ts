import { expect, test } from "vitest";
import { createGroupCommit } from "./group-commit.ts";

function harness(fail: (items: readonly number[]) => Error | undefined = () => undefined) {
  const batches: number[][] = [];
  const gates: (() => void)[] = [];
  const submit = createGroupCommit<number, string>({
    maxItems: 5,
    maxRunning: 1,
    maxWaiting: 12,
    commit: async (items) => {
      batches.push([...items]);
      await new Promise<void>((resolve) => gates.push(resolve));
      const error = fail(items);
      if (error !== undefined) throw error;
      return items.map(String);
    },
    refusal: () => new Error("full"),
    isWorthSplitting: (error) => error instanceof RangeError,
  });
  return { batches, submit, release: () => gates.splice(0).map((open) => open()) };
}

async function drain(release: () => unknown, all: Promise<unknown>) {
  let isDone = false;
  const watched = all.finally(() => {
    isDone = true;
  });
  watched.catch(() => {});
  while (!isDone) {
    release();
    await Promise.resolve();
  }
  return watched;
}

test("callers that come while one commits share the next transaction and get their own results in order", async () => {
  const { batches, submit, release } = harness();
  const all = Promise.all([submit([1]), submit([2, 3]), submit([4]), submit([5, 6])]);
  expect(await drain(release, all)).toEqual([["1"], ["2", "3"], ["4"], ["5", "6"]]);
  expect(batches).toEqual([[1], [2, 3, 4, 5, 6]]);
});

test("a caller with more than a transaction's share is not split and not starved", async () => {
  const { batches, submit, release } = harness();
  const all = Promise.all([submit([1]), submit([2, 3, 4, 5, 6, 7, 8]), submit([9])]);
  await drain(release, all);
  expect(batches).toEqual([[1], [2, 3, 4, 5, 6, 7, 8], [9]]);
});

test("one caller's bad item fails only that caller", async () => {
  const { submit, release } = harness((items) => (items.includes(3) ? new RangeError("bad item") : undefined));
  const all = Promise.allSettled([submit([1]), submit([2]), submit([3]), submit([4])]);
  const settled = await drain(release, all);
  expect(settled).toMatchObject([
    { status: "fulfilled", value: ["1"] },
    { status: "fulfilled", value: ["2"] },
    { status: "rejected", reason: new RangeError("bad item") },
    { status: "fulfilled", value: ["4"] },
  ]);
});

test("a failure that is nobody's fault fails the whole group at once", async () => {
  const { batches, submit, release } = harness((items) => (items.includes(1) ? undefined : new Error("database away")));
  const settled = await drain(release, Promise.allSettled([submit([1]), submit([2]), submit([3])]));
  expect(settled).toMatchObject([{ status: "fulfilled" }, { status: "rejected" }, { status: "rejected" }]);
  expect(batches).toEqual([[1], [2, 3]]);
});

test("a full queue refuses at once", async () => {
  const { submit, release } = harness();
  const accepted = Promise.all([submit([0]), submit([1, 2, 3, 4, 5]), submit([6, 7, 8, 9, 10])]);
  await expect(submit([11, 12, 13])).rejects.toThrow("full");
  await drain(release, accepted);
});
