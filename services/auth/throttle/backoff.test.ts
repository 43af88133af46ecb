import { expect, test } from "vitest";
import { admissionOf, countedFailures, type ThrottleState, waitAfterMs } from "./backoff.ts";
import { networkOf } from "./throttle-keys.ts";

const now = Temporal.Instant.from("2026-06-01T12:00:00Z");
const state = (init: Partial<ThrottleState>): ThrottleState => ({
  failures: 0,
  lastFailureAt: null,
  inFlight: 0,
  inFlightUntil: null,
  ...init,
});
const ago = (ms: number) => now.subtract({ milliseconds: ms });

test("ten failures are free, then the wait doubles from one second to 15 minutes", () => {
  const waits = Array.from({ length: 24 }, (_, failures) => waitAfterMs(failures) / 1_000);
  expect(waits).toEqual([...Array(10).fill(0), 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]);
});

test("failures are halved per quiet hour", () => {
  const counted = (hours: number) =>
    countedFailures(state({ failures: 21, lastFailureAt: ago(hours * 3_600_000) }), now);
  expect([0, 0.99, 1, 2, 3, 4, 5, 40].map(counted)).toEqual([21, 21, 10, 5, 2, 1, 0, 0]);
});

test("the wait counts from the last failure, and says how long it still is", () => {
  const blocked = state({ failures: 12, lastFailureAt: ago(1_500) });
  expect(admissionOf(blocked, now)).toEqual({ kind: "blocked", retryAfterMs: 2_500 });
  expect(admissionOf({ ...blocked, lastFailureAt: ago(4_000) }, now)).toEqual({ kind: "admitted" });
});

test("attempts in flight take the free places, and leave others undecided", () => {
  const until = now.add({ seconds: 20 });
  expect(admissionOf(state({ inFlight: 9, inFlightUntil: until }), now).kind).toBe("admitted");
  expect(admissionOf(state({ inFlight: 10, inFlightUntil: until }), now).kind).toBe("undecided");
  const tired = state({ failures: 12, lastFailureAt: ago(60_000), inFlight: 1, inFlightUntil: until });
  expect(admissionOf(tired, now).kind).toBe("undecided");
  expect(admissionOf({ ...tired, inFlight: 0 }, now).kind).toBe("admitted");
});

test("attempts whose process died count as failed", () => {
  const died = state({ inFlight: 12, inFlightUntil: ago(500) });
  expect(countedFailures(died, now)).toBe(12);
  expect(admissionOf(died, now)).toEqual({ kind: "blocked", retryAfterMs: 3_500 });
});

test("an IPv6 customer counts as one, however many addresses it has", () => {
  expect(networkOf("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2::/64");
  expect(networkOf("2001:db8:1:2::ffff")).toBe("2001:db8:1:2::/64");
  expect(networkOf("2001:DB8::1")).toBe("2001:db8:0:0::/64");
  expect(networkOf("::1")).toBe("0:0:0:0::/64");
  expect(networkOf("fe80::1%eth0")).toBe("fe80:0:0:0::/64");
  expect(networkOf("192.0.2.7")).toBe("192.0.2.7");
  expect(networkOf("")).toBe("");
});
