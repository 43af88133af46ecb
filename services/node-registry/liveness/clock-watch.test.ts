import { expect, test } from "vitest";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createClockWatch } from "./sweeper.worker.ts";

const LATE_MS = 1_500;
const start = Temporal.Instant.from("2026-01-01T00:00:00Z");
const at = (ms: number, sweptAtMs = 0) => ({
  now: start.add({ milliseconds: ms }),
  swept_at: start.add({ milliseconds: sweptAtMs }),
  warm_until: null,
  halted_at: null,
  halted_nodes: 0,
  halted_of: 0,
  released_until: null,
});

test("a jump of the database's clock is told again until its warm-up is committed", async () => {
  const clock = new ManualClock();
  const watch = createClockWatch(clock, LATE_MS);
  expect(watch.troubleOf(at(0), clock.monotonicMs())).toBeUndefined();
  await clock.advance(1_000);
  const jumped = at(3_600_000);
  expect(watch.troubleOf(jumped, clock.monotonicMs())).toBe("clock jumped");
  expect(watch.troubleOf(jumped, clock.monotonicMs())).toBe("clock jumped");
  watch.accept(jumped, clock.monotonicMs());
  await clock.advance(1_000);
  expect(watch.troubleOf(at(3_601_000), clock.monotonicMs())).toBeUndefined();
});

test("a sweep that is taken up late, and one that has never been, begins cold until that is committed", () => {
  const clock = new ManualClock();
  const watch = createClockWatch(clock, LATE_MS);
  for (const state of [at(60_000), { ...at(60_000), swept_at: null }, at(60_000)]) {
    expect(watch.troubleOf(state, clock.monotonicMs())).toBe("cold start");
  }
  watch.accept(at(60_000), clock.monotonicMs());
  expect(watch.troubleOf(at(60_000), clock.monotonicMs())).toBeUndefined();
});

test("a database that answers late makes the sweep late, since heartbeats have waited for it too", async () => {
  const clock = new ManualClock();
  const watch = createClockWatch(clock, LATE_MS);
  expect(watch.troubleOf(at(0), clock.monotonicMs())).toBeUndefined();
  const askedAtMs = clock.monotonicMs();
  await clock.advance(LATE_MS + 1);
  expect(watch.troubleOf(at(0), askedAtMs)).toBe("late sweep");
});
