import { expect, test } from "vitest";
import { systemClock } from "./clock.ts";
import { uuidv7 } from "./uuid.ts";

test("a sleep ends early and without an error when its signal aborts", async () => {
  const controller = new AbortController();
  const startedAt = systemClock.monotonicMs();
  const sleeping = systemClock.sleep(60_000, controller.signal);
  controller.abort(new Error("stop"));
  await sleeping;
  await systemClock.sleep(60_000, controller.signal);
  expect(systemClock.monotonicMs() - startedAt).toBeLessThan(5_000);
});

test("a sleep may be longer than a timer of Node", async () => {
  const controller = new AbortController();
  const long = systemClock.sleep(60 * 86_400_000, controller.signal).then(() => "long");
  expect(await Promise.race([long, systemClock.sleep(20).then(() => "short")])).toBe("short");
  controller.abort();
  await long;
});

test("version 7 UUIDs carry the clock's milliseconds, the version and the variant", () => {
  const at = Temporal.Instant.from("2026-01-02T03:04:05.678Z");
  const id = uuidv7({ ...systemClock, now: () => at });
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(Number.parseInt(id.replace("-", "").slice(0, 12), 16)).toBe(at.epochMilliseconds);
  expect(uuidv7(systemClock)).not.toBe(uuidv7(systemClock));
});
