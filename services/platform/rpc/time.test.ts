import fc from "fast-check";
import { expect, test } from "vitest";
import { fromDuration, fromTimestamp, toDuration, toTimestamp } from "./time.ts";

test("instants keep their nanoseconds, also before 1970", () => {
  const limit = 8_640_000_000_000_000n * 1_000_000n;
  fc.assert(
    fc.property(fc.bigInt({ min: -limit, max: limit }), (nanoseconds) => {
      const instant = Temporal.Instant.fromEpochNanoseconds(nanoseconds);
      const timestamp = toTimestamp(instant);
      expect(timestamp.nanos).toBeGreaterThanOrEqual(0);
      expect(fromTimestamp(timestamp).equals(instant)).toBe(true);
    }),
  );
});

test("durations carry one sign and come back", () => {
  fc.assert(
    fc.property(fc.integer({ min: -1e9, max: 1e9 }), (ms) => {
      const { seconds, nanos } = toDuration(ms);
      expect(seconds > 0n && nanos < 0).toBe(false);
      expect(seconds < 0n && nanos > 0).toBe(false);
      expect(fromDuration(toDuration(ms))).toBe(ms);
    }),
  );
  expect(toDuration(1_500)).toMatchObject({ seconds: 1n, nanos: 500_000_000 });
  expect(Object.is(toDuration(-1_000).nanos, 0)).toBe(true);
});
