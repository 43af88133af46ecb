import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Pool } from "#platform/postgres/pool.ts";
import { bytes, instant, sql, zVoid } from "#platform/postgres/sql.ts";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { admissionOf, countedFailures } from "./backoff.ts";
import { beginAttempt, deleteQuietThrottles, endAttempt, readThrottles } from "./login-throttles.store.ts";
import { takeFromRate } from "./rate-limits.store.ts";

let db: TestDatabase;
let pool: Pool;
const now = Temporal.Instant.from("2026-06-01T12:00:00Z");

beforeAll(async () => {
  db = await createTestDatabase();
  pool = await db.pool("auth");
});

afterAll(() => db[Symbol.asyncDispose]());

const newKeys = () => ({ name: randomBytes(32), nameAndAddress: randomBytes(32) });

test("the statement that counts an attempt admits exactly what the arithmetic admits", async () => {
  const agoMs = fc.option(fc.integer({ min: -2 * 3_600_000, max: 40 * 3_600_000 }), { nil: null });
  const rows = fc.record({
    failures: fc.oneof(fc.integer({ min: 0, max: 14 }), fc.integer({ min: 0, max: 500 })),
    lastAgoMs: fc.oneof(agoMs, fc.integer({ min: -5_000, max: 20_000 })),
    inFlight: fc.integer({ min: 0, max: 12 }),
    untilAgoMs: fc.option(fc.oneof(fc.integer({ min: -30_000, max: 10_000 }), fc.constant(-7_200_000)), { nil: null }),
  });
  const run = async (row: {
    failures: number;
    lastAgoMs: number | null;
    inFlight: number;
    untilAgoMs: number | null;
  }) => {
    const at = (ms: number | null) => (ms === null ? null : now.subtract({ milliseconds: ms }));
    const state = {
      failures: row.lastAgoMs === null ? 0 : row.failures,
      lastFailureAt: at(row.lastAgoMs),
      inFlight: row.inFlight,
      inFlightUntil: at(row.untilAgoMs),
    };
    const keys = newKeys();
    const at2 = (value: Temporal.Instant | null) => (value === null ? sql.fragment`null` : instant(value));
    await pool.query(sql.type(zVoid)`
      insert into auth.login_throttles (key, failures, last_failure_at, in_flight, in_flight_until)
      values (${bytes(keys.name)}, ${state.failures}, ${at2(state.lastFailureAt)}, ${state.inFlight},
        ${at2(state.inFlightUntil)})`);
    const admitted = await beginAttempt(pool, keys, undefined, now);
    const expected = admissionOf(state, now).kind === "admitted";
    expect(admitted.some((key) => key.equals(keys.name))).toBe(expected);
    if (expected) {
      const before = countedFailures(state, now);
      await endAttempt(pool, [keys.name], "failed", now);
      const after = (await readThrottles(pool, keys)).name;
      expect(after?.failures).toBe(before + 1);
    }
  };
  await fc.assert(fc.asyncProperty(rows, run), { numRuns: 400 });
});

test("of a hundred attempts at once ten are admitted, and what succeeded gives its place back", async () => {
  const keys = newKeys();
  const admitted = await Promise.all(Array.from({ length: 100 }, () => beginAttempt(pool, keys, undefined, now)));
  expect(admitted.filter((both) => both.length === 2)).toHaveLength(10);
  await endAttempt(pool, [keys.name, keys.nameAndAddress], "succeeded", now);
  expect(await beginAttempt(pool, keys, undefined, now)).toHaveLength(2);
  expect(await beginAttempt(pool, keys, undefined, now)).toHaveLength(0);
  for (let n = 0; n < 10; n += 1) await endAttempt(pool, [keys.name, keys.nameAndAddress], "failed", now);
  const { name } = await readThrottles(pool, keys);
  expect(name).toMatchObject({ failures: 10, inFlight: 0 });
});

test("from a place where a login succeeded, strangers' failures under the name are counted and not asked", async () => {
  const [stranger, owner] = [newKeys(), newKeys()];
  const name = stranger.name;
  for (let n = 0; n < 15; n += 1) await endAttempt(pool, await beginAttempt(pool, stranger, name, now), "failed", now);
  const keys = { name, nameAndAddress: owner.nameAndAddress };
  const withoutTrust = await beginAttempt(pool, keys, undefined, now);
  expect(withoutTrust).toHaveLength(1);
  await endAttempt(pool, withoutTrust, "abandoned", now);
  const both = await beginAttempt(pool, keys, name, now);
  expect(both).toHaveLength(2);
  await endAttempt(pool, both, "succeeded", now, keys.nameAndAddress);
  const read = await readThrottles(pool, keys);
  expect(read.pair?.trustedUntil?.toString()).toBe("2026-07-01T12:00:00Z");
  expect(read.name?.trustedUntil).toBeNull();
});

test("rows that say nothing any more are removed", async () => {
  const keys = newKeys();
  await endAttempt(pool, await beginAttempt(pool, keys, undefined, now), "failed", now);
  await deleteQuietThrottles(pool, now.add({ hours: 47 }), 10_000);
  expect((await readThrottles(pool, keys)).name).toBeDefined();
  await deleteQuietThrottles(pool, now.add({ hours: 100 }), 10_000);
  expect((await readThrottles(pool, keys)).name).toBeUndefined();
});

test("an address has a burst and then a rate, for all who ask at once", async () => {
  const key = randomBytes(32);
  const rate = { burst: 100, intervalMs: 1_000 };
  const answers = await Promise.all(Array.from({ length: 150 }, () => takeFromRate(pool, key, rate, now)));
  expect(answers.filter((waitMs) => waitMs === undefined)).toHaveLength(100);
  expect(answers.find((waitMs) => waitMs !== undefined)).toBe(1_000);
  const later = (ms: number) => takeFromRate(pool, key, rate, now.add({ milliseconds: ms }));
  expect(await later(999)).toBe(1);
  expect(await later(1_000)).toBeUndefined();
  expect(await later(1_000)).toBe(1_000);
  expect(await later(3_600_000)).toBeUndefined();
});

test("what a clock far ahead wrote locks out neither a name nor an address once the clock is right", async () => {
  const ahead = now.add({ hours: 24 * 365 });
  const keys = newKeys();
  const both = [keys.name, keys.nameAndAddress];
  expect(await beginAttempt(pool, keys, undefined, ahead)).toHaveLength(2);
  for (let n = 0; n < 12; n += 1) await endAttempt(pool, both, "failed", ahead);
  expect(await beginAttempt(pool, keys, undefined, now)).toHaveLength(2);
  await endAttempt(pool, both, "failed", now);
  // The count stays, and from now on it is the right clock that says how long it blocks.
  expect(await beginAttempt(pool, keys, undefined, now)).toHaveLength(0);
  expect((await readThrottles(pool, keys)).name).toMatchObject({ failures: 13, lastFailureAt: now });

  const lost = newKeys();
  for (let n = 0; n < 10; n += 1) expect(await beginAttempt(pool, lost, undefined, ahead)).toHaveLength(2);
  expect(await beginAttempt(pool, lost, undefined, now)).toHaveLength(2);

  const key = randomBytes(32);
  const rate = { burst: 2, intervalMs: 1_000 };
  for (let n = 0; n < 2; n += 1) expect(await takeFromRate(pool, key, rate, ahead)).toBeUndefined();
  for (let n = 0; n < 2; n += 1) expect(await takeFromRate(pool, key, rate, now)).toBeUndefined();
  expect(await takeFromRate(pool, key, rate, now)).toBe(1_000);
});
