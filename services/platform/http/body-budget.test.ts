import { setImmediate as nextTurn } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { createBodyBudget } from "./body-budget.ts";
import { STARTS_PER_TURN } from "./start-queue.ts";

/** For bodies that all come from one address. */
function budgetOf(maxBytes: number) {
  const within = createBodyBudget({ maxBytes, maxBytesPerAddress: maxBytes, maxBytesPerSecond: 1e9 });
  return (body: AsyncIterable<Uint8Array>) => within(body, "192.0.2.1");
}

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
  const within = budgetOf(100_000);
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

test("an address that holds too much is refused its largest body, and neither its smaller ones nor another address", async () => {
  const within = createBodyBudget({ maxBytes: 1_000_000, maxBytesPerAddress: 100_000, maxBytesPerSecond: 1e9 });
  const [large, small, other] = [manualBody(), manualBody(), manualBody()];
  const [largeReader, smallReader] = [large, small].map((body) => within(body, "192.0.2.1")[Symbol.asyncIterator]());
  const otherReader = within(other, "192.0.2.2")[Symbol.asyncIterator]();
  for (const body of [large, other]) body.send(90_000);
  expect((await largeReader?.next())?.done).toBe(false);
  expect((await otherReader.next()).done).toBe(false);
  const refused = expect(largeReader?.next()).rejects.toThrow("too many large requests at once");
  small.send(20_000);
  expect((await smallReader?.next())?.value?.byteLength).toBe(20_000);
  await refused;
  for (const body of [small, other]) body.end();
  expect((await smallReader?.next())?.done).toBe(true);
  expect((await otherReader.next()).done).toBe(true);
  // What was given back is there again for the same address.
  const again = manualBody();
  const reader = within(again, "192.0.2.1")[Symbol.asyncIterator]();
  again.send(90_000);
  expect((await reader.next()).done).toBe(false);
});

test("what was read, broken off or refused counts no longer", async () => {
  const within = budgetOf(100_000);
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

test("what still comes of a body that was given up while it was waited for counts no longer", async () => {
  const within = budgetOf(100_000);
  for (let round = 0; round < 3; round += 1) {
    const body = manualBody();
    const reader = within(body)[Symbol.asyncIterator]();
    const waiting = reader.next();
    const left = reader.return?.();
    body.send(90_000);
    body.end();
    await Promise.all([waiting, left]);
  }
});

test("requests that are broken off all at once end a few in each turn of the event loop", async () => {
  const within = budgetOf(1_000_000);
  let ended = 0;
  const readers = Array.from({ length: 10 * STARTS_PER_TURN }, async () => {
    await expect(readAll(within(failing(1)))).rejects.toThrow("broken");
    ended += 1;
  });
  const perTurn: number[] = [];
  for (let before = 0; ended < readers.length; before = ended) {
    await nextTurn();
    perTurn.push(ended - before);
  }
  await Promise.all(readers);
  expect(Math.max(...perTurn)).toBeLessThanOrEqual(2 * STARTS_PER_TURN);
});

async function readAll(body: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const chunk of body) bytes += chunk.byteLength;
  return bytes;
}

test("tiny chunks count for more than their bytes, and thousands of them are refused", async () => {
  const within = budgetOf(1_000_000_000);
  await expect(readAll(budgetOf(100_000)(manyChunks(1_000)))).rejects.toThrow("too many large requests at once");
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
