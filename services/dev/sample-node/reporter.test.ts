import { expect, test } from "vitest";
import type { StoredChunk } from "./chunk-store.ts";
import { createReporter, type Verdict } from "./reporter.ts";

const chunk = (hash: string): StoredChunk => ({ hash, size: 1 });

/** A registry that answers when the test says so. */
function createAsked() {
  const calls: { hashes: string[]; answer: (verdict: Verdict) => void }[] = [];
  const report = (chunks: readonly StoredChunk[]) =>
    new Promise<readonly Verdict[]>((resolve) => {
      calls.push({ hashes: chunks.map(({ hash }) => hash), answer: (verdict) => resolve(chunks.map(() => verdict)) });
    });
  return { calls, report };
}

test("what is withdrawn is reported no more, and a report that names it is waited for", async () => {
  const stop = new AbortController();
  const removed: string[] = [];
  const { calls, report } = createAsked();
  const remove = async (hash: string) => void removed.push(hash);
  const reporter = createReporter({ report, remove, say: () => {}, signal: stop.signal });
  const running = reporter.run();
  reporter.add(chunk("first"));
  await expect.poll(() => calls.length).toBe(1);
  for (const hash of ["second", "third"]) reporter.add(chunk(hash));
  let isFree = false;
  const withdrawn = reporter.withdraw(["first", "second"]).then(() => {
    isFree = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(isFree).toBe(false);
  calls[0]?.answer("delete");
  await withdrawn;
  await expect.poll(() => calls.map(({ hashes }) => hashes)).toEqual([["first"], ["third"]]);
  calls[1]?.answer("delete");
  await expect.poll(() => removed).toEqual(["third"]);
  reporter.add(chunk("second"));
  await expect.poll(() => calls.length).toBe(3);
  expect(calls[2]?.hashes).toEqual(["second"]);
  calls[2]?.answer("keep");
  stop.abort();
  await running;
});
