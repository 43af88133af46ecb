import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { createTurns } from "./turns.ts";

test("calls for one key pass a few at a time and in order, those for others beside them", async () => {
  const turns = createTurns({ perKey: 2, maxWaiting: 10 });
  const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
  const started: number[] = [];
  const calls = gates.map((gate, index) =>
    turns.run("hot", async () => {
      started.push(index);
      await gate.promise;
    }),
  );
  await turns.run("other", async () => {});
  expect(started).toEqual([0, 1]);
  gates[1]?.resolve();
  await calls[1];
  await turns.run("other", async () => {});
  expect(started).toEqual([0, 1, 2]);
  for (const gate of gates) gate.resolve();
  await Promise.all(calls);
  expect(started).toEqual([0, 1, 2, 3, 4]);
});

test("a call that fails gives its turn on", async () => {
  const turns = createTurns({ perKey: 1, maxWaiting: 10 });
  const failing = turns.run("key", () => Promise.reject(new Error("failed")));
  const next = turns.run("key", () => Promise.resolve("passed"));
  await expect(failing).rejects.toThrow("failed");
  expect(await next).toBe("passed");
});

test("the line of one key is bounded", async () => {
  const turns = createTurns({ perKey: 1, maxWaiting: 1 });
  const gate = Promise.withResolvers<void>();
  const first = turns.run("key", () => gate.promise);
  const second = turns.run("key", () => gate.promise);
  await expect(turns.run("key", () => gate.promise)).rejects.toMatchObject({
    code: Code.ResourceExhausted,
    reason: "OVERLOADED",
  });
  gate.resolve();
  await Promise.all([first, second]);
});
