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
  const within = createBodyBudget(100_000);
  const [slow, quick] = [manualBody(), manualBody()];
  const [slowReader, quickReader] = [within(slow), within(quick)].map((body) => body[Symbol.asyncIterator]());
  slow.send(80_000);
  await slowReader?.next();
  const refused = expect(slowReader?.next()).rejects.toThrow(ConnectError);
  quick.send(30_000);
  expect((await quickReader?.next())?.value?.byteLength).toBe(30_000);
  await refused;
  await expect(slowReader?.next()).rejects.toThrow("too many large requests at once");
});

test("what was read, broken off or refused counts no longer", async () => {
  const within = createBodyBudget(100_000);
  for (const leave of ["end", "return", "throw"] as const) {
    for (let round = 0; round < 3; round += 1) {
      const body = manualBody();
      const reader = within(leave === "throw" ? failing(90_000) : body)[Symbol.asyncIterator]();
      body.send(90_000);
      expect((await reader.next()).done).toBe(false);
      body.end();
      if (leave === "return") await reader.return?.();
      else if (leave === "throw") await expect(reader.next()).rejects.toThrow("broken");
      else expect((await reader.next()).done).toBe(true);
    }
  }
});

async function readAll(body: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const chunk of body) bytes += chunk.byteLength;
  return bytes;
}

test("tiny chunks count for more than their bytes, and thousands of them are refused", async () => {
  const within = createBodyBudget(1_000_000_000);
  await expect(readAll(createBodyBudget(100_000)(manyChunks(1_000)))).rejects.toThrow(
    "too many large requests at once",
  );
  await expect(readAll(within(manyChunks(2_000)))).rejects.toThrow("too many tiny pieces");
  expect(await readAll(within(manyChunks(1_000)))).toBe(1_000);
  expect(await readAll(within(manyChunks(5_000, 100)))).toBe(500_000);
});

async function* manyChunks(count: number, bytes = 1) {
  for (let index = 0; index < count; index += 1) yield new Uint8Array(bytes);
}

async function* failing(bytes: number) {
  yield new Uint8Array(bytes);
  throw new Error("broken");
}
