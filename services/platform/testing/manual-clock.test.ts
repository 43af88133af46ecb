import { expect, test } from "vitest";
import { ManualClock } from "./manual-clock.ts";

test("sleepers wake in the order of their time and see the clock at that moment", async () => {
  const clock = new ManualClock();
  const start = clock.now();
  const woken: string[] = [];
  const note = (name: string) => woken.push(`${name} ${clock.now().since(start).total("milliseconds")}`);
  void clock.sleep(300).then(() => note("late"));
  void (async () => {
    for (let i = 0; i < 3; i += 1) {
      await clock.sleep(100);
      note("loop");
    }
  })();
  await clock.advance(250);
  expect(woken).toEqual(["loop 100", "loop 200"]);
  expect(clock.monotonicMs()).toBe(250);
  await clock.advance(50);
  expect(woken).toEqual(["loop 100", "loop 200", "late 300", "loop 300"]);
  expect(clock.sleeping()).toBe(0);
});

test("an aborted sleep ends without an error, and a jump moves only the wall clock", async () => {
  const clock = new ManualClock();
  const controller = new AbortController();
  const sleeping = clock.sleep(1_000, controller.signal);
  await clock.untilSleeping();
  controller.abort();
  await sleeping;
  const before = clock.now();
  clock.jump(-5_000);
  expect(clock.now().since(before).total("seconds")).toBe(-5);
  expect(clock.monotonicMs()).toBe(0);
});
