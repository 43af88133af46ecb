import { expect, test } from "vitest";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { BusyError } from "../throttle/turns.ts";
import { createHashPermits, type WithPermit } from "./hash-permits.ts";

function setUp(options: { permits?: number; maxWaiting?: number } = {}) {
  const clock = new ManualClock();
  const permits = createHashPermits({ permits: 2, maxWaiting: 3, deadlineMs: 5_000, clock, ...options });
  const works: { finish: () => void; fail: (error: Error) => void }[] = [];
  const order: number[] = [];
  const work = (n: number) => (withPermit: WithPermit) =>
    withPermit(() => {
      order.push(n);
      const { promise, resolve, reject } = Promise.withResolvers<number>();
      works.push({ finish: () => resolve(n), fail: reject });
      return promise;
    });
  return { clock, permits, works, order, work };
}

test("so many hash at once, two more are let in, the others wait their turn", async () => {
  const { permits, works, order, work, clock } = setUp();
  const results = [0, 1, 2, 3, 4, 5].map((n) => permits.run(work(n)));
  await clock.advance(0);
  expect(permits.state()).toEqual({ hashing: 2, admitted: 4, waiting: 2 });
  works[1]?.finish();
  expect(await results[1]).toBe(1);
  await clock.advance(0);
  expect(order).toEqual([0, 1, 2]);
  works[0]?.fail(new Error("broken"));
  await expect(results[0]).rejects.toThrow("broken");
  for (let n = 2; n < 6; n += 1) {
    await clock.advance(0);
    works[n]?.finish();
  }
  expect(await Promise.all(results.slice(2))).toEqual([2, 3, 4, 5]);
  expect(permits.state()).toEqual({ hashing: 0, admitted: 0, waiting: 0 });
});

test("a full queue and a wait that lasts too long are refused with a hint", async () => {
  const { permits, works, work, clock } = setUp({ permits: 1, maxWaiting: 1 });
  const admitted = [0, 1, 2].map((n) => permits.run(work(n)));
  const waiting = permits.run(work(3));
  await expect(permits.run(work(4))).rejects.toBeInstanceOf(BusyError);
  const refused = expect(waiting).rejects.toMatchObject({ retryAfterMs: 2_500 });
  await clock.advance(5_000);
  await refused;
  for (let n = 0; n < 3; n += 1) {
    works[n]?.finish();
    expect(await admitted[n]).toBe(n);
  }
  expect(permits.state()).toEqual({ hashing: 0, admitted: 0, waiting: 0 });
});

test("abandoned work keeps its permit until it is done", async () => {
  const { permits, works, order, work, clock } = setUp({ permits: 1 });
  const gone = new AbortController();
  const first = permits.run(work(0), gone.signal);
  const admitted = [1, 2].map((n) => permits.run(work(n)));
  const waiting = permits.run(work(3), gone.signal);
  const left = expect(waiting).rejects.toThrow("client is gone");
  gone.abort(new Error("client is gone"));
  await left;
  await clock.advance(0);
  expect(permits.state()).toEqual({ hashing: 1, admitted: 3, waiting: 0 });
  expect(order).toEqual([0]);
  works[0]?.finish();
  await first;
  for (const n of [1, 2]) {
    await clock.advance(0);
    works[n]?.finish();
  }
  expect(await Promise.all(admitted)).toEqual([1, 2]);
});
