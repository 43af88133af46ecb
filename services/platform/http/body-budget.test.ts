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
  const within = createBodyBudget(100);
  const [slow, quick] = [manualBody(), manualBody()];
  const [slowReader, quickReader] = [within(slow), within(quick)].map((body) => body[Symbol.asyncIterator]());
  slow.send(80);
  await slowReader?.next();
  const waiting = slowReader?.next();
  quick.send(30);
  expect((await quickReader?.next())?.value?.byteLength).toBe(30);
  await expect(waiting).rejects.toThrow(ConnectError);
  await expect(slowReader?.next()).rejects.toThrow("too many large requests at once");
});

test("what was read, broken off or refused counts no longer", async () => {
  const within = createBodyBudget(100);
  for (const leave of ["end", "return", "throw"] as const) {
    for (let round = 0; round < 3; round += 1) {
      const body = manualBody();
      const reader = within(leave === "throw" ? failing(90) : body)[Symbol.asyncIterator]();
      body.send(90);
      expect((await reader.next()).done).toBe(false);
      body.end();
      if (leave === "return") await reader.return?.();
      else if (leave === "throw") await expect(reader.next()).rejects.toThrow("broken");
      else expect((await reader.next()).done).toBe(true);
    }
  }
});

async function* failing(bytes: number) {
  yield new Uint8Array(bytes);
  throw new Error("broken");
}
