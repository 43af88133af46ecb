import { expect, test } from "vitest";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createHashPermits, HashingBusyError } from "./hash-permits.ts";

function setUp(options: { permits?: number; maxWaiting?: number } = {}) {
  const clock = new ManualClock();
  const permits = createHashPermits({ permits: 2, maxWaiting: 3, deadlineMs: 5_000, clock, ...options });
  const works: { finish: () => void; fail: (error: Error) => void }[] = [];
  const order: number[] = [];
  const work = (n: number) => () => {
    order.push(n);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    works.push({ finish: () => resolve(n), fail: reject });
    return promise;
  };
  return { clock, permits, works, order, work };
}

test("so many run at once, the others wait their turn", async () => {
  const { permits, works, order, work, clock } = setUp();
  const results = [0, 1, 2, 3].map((n) => permits.run(work(n)));
  await clock.advance(0);
  expect(permits.state()).toEqual({ running: 2, waiting: 2 });
  works[1]?.finish();
  expect(await results[1]).toBe(1);
  await clock.advance(0);
  expect(order).toEqual([0, 1, 2]);
  works[0]?.fail(new Error("broken"));
  await expect(results[0]).rejects.toThrow("broken");
  await clock.advance(0);
  works[2]?.finish();
  works[3]?.finish();
  expect(await Promise.all(results.slice(2))).toEqual([2, 3]);
  expect(permits.state()).toEqual({ running: 0, waiting: 0 });
});

test("a full queue and a wait that lasts too long are refused with a hint", async () => {
  const { permits, works, work, clock } = setUp({ permits: 1, maxWaiting: 1 });
  const first = permits.run(work(0));
  const second = permits.run(work(1));
  await expect(permits.run(work(2))).rejects.toBeInstanceOf(HashingBusyError);
  const refused = expect(second).rejects.toMatchObject({ retryAfterMs: 2_500 });
  await clock.advance(5_000);
  await refused;
  works[0]?.finish();
  expect(await first).toBe(0);
  expect(permits.state()).toEqual({ running: 0, waiting: 0 });
});

test("abandoned work keeps its permit until it is done", async () => {
  const { permits, works, order, work, clock } = setUp({ permits: 1 });
  const gone = new AbortController();
  const first = permits.run(work(0), gone.signal);
  const waiting = permits.run(work(1), gone.signal);
  const third = permits.run(work(2));
  const left = expect(waiting).rejects.toThrow("client is gone");
  gone.abort(new Error("client is gone"));
  await left;
  await clock.advance(0);
  expect(permits.state()).toEqual({ running: 1, waiting: 1 });
  expect(order).toEqual([0]);
  works[0]?.finish();
  await first;
  await clock.advance(0);
  works[1]?.finish();
  expect(await third).toBe(2);
});
