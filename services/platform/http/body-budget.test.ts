import { ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { createBodyBudget } from "./body-budget.ts";

/** A body that sends what it is told to, and is over when told so. */
function manualBody() {
  const chunks: Uint8Array[] = [];
  let wake = () => {};
  let isOver = false;
  return {
    send: (bytes: number) => {
      chunks.push(new Uint8Array(bytes));
      wake();
    },
    end: () => {
      isOver = true;
      wake();
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const next = chunks.shift();
        if (next !== undefined) yield next;
        else if (isOver) return;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

test("the largest body is refused when all together are too large, also while it waits", async () => {
  const within = createBodyBudget(10_000);
  const [slow, quick] = [manualBody(), manualBody()];
  const [slowReader, quickReader] = [within(slow), within(quick)].map((body) => body[Symbol.asyncIterator]());
  slow.send(8_000);
  await slowReader?.next();
  const waiting = slowReader?.next();
  quick.send(3_000);
  expect((await quickReader?.next())?.value?.byteLength).toBe(3_000);
  await expect(waiting).rejects.toThrow(ConnectError);
  await expect(slowReader?.next()).rejects.toThrow("too many large requests at once");
});

test("what was read, broken off or refused counts no longer", async () => {
  const within = createBodyBudget(10_000);
  for (const leave of ["end", "return", "throw"] as const) {
    for (let round = 0; round < 3; round += 1) {
      const body = manualBody();
      const reader = within(leave === "throw" ? failing(9_000) : body)[Symbol.asyncIterator]();
      body.send(9_000);
      expect((await reader.next()).done).toBe(false);
      body.end();
      if (leave === "return") await reader.return?.();
      else if (leave === "throw") await expect(reader.next()).rejects.toThrow("broken");
      else expect((await reader.next()).done).toBe(true);
    }
  }
});

test("many tiny chunks count for more than their bytes", async () => {
  const reader = createBodyBudget(10_000)(manyChunks(1_000))[Symbol.asyncIterator]();
  const readAll = async () => {
    while (!(await reader.next()).done);
  };
  await expect(readAll()).rejects.toThrow("too many large requests at once");
});

async function* manyChunks(count: number) {
  for (let index = 0; index < count; index += 1) yield new Uint8Array(1);
}

async function* failing(bytes: number) {
  yield new Uint8Array(bytes);
  throw new Error("broken");
}
