import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { reasonOf, refusalOf } from "../testing/refusals.ts";
import { createShiftedClock } from "../testing/shifted-clock.ts";
import { startTestAuth, type TestAuth } from "../testing/start-test-auth.ts";

let db: TestDatabase;
let nats: TestNats;
let auth: TestAuth;
let replica: TestAuth;
const clock = createShiftedClock();
const password = "a long and unusual phrase";

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startTestNats()]);
  const urls = { databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") };
  const env = { TRUSTED_PROXY_COUNT: "1", HASH_CONCURRENCY: "4", HASH_QUEUE_LIMIT: "2000", HASH_QUEUE_DEADLINE: "25s" };
  auth = await startTestAuth(urls, env, clock);
  replica = await startTestAuth(urls, env, clock);
});

// Waits begin with the failures before them: none passes by itself on a busy machine.
beforeEach(() => clock.freeze());
afterEach(() => clock.unfreeze());

afterAll(async () => {
  await Promise.all([auth[Symbol.asyncDispose](), replica[Symbol.asyncDispose]()]);
  await Promise.all([db[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

const from = (address: string) => ({ headers: { "x-forwarded-for": address } });

async function user(address = "192.0.2.1"): Promise<string> {
  const username = `user-${randomUUID()}`;
  await auth.auth.register({ username, password }, from(address));
  return username;
}

async function countReasons(calls: readonly Promise<unknown>[]): Promise<Record<string, number>> {
  const reasons = await Promise.all(calls.map((call) => reasonOf(call)));
  const counts: Record<string, number> = {};
  for (const reason of reasons) counts[reason] = (counts[reason] ?? 0) + 1;
  return counts;
}

test.each(["an existing name", "a name that nobody has"])("the eleventh attempt on %s has to wait", async (what) => {
  const username = what === "an existing name" ? await user() : randomUUID();
  const guess = (on: TestAuth) => on.auth.login({ username, password: "wrong" }, from("192.0.2.9"));
  for (let n = 0; n < 10; n += 1)
    expect(await reasonOf(guess(n % 2 === 0 ? auth : replica))).toBe("INVALID_CREDENTIALS");
  const refused = await refusalOf(guess(replica));
  expect(refused).toMatchObject({ code: 8, reason: "TOO_MANY_ATTEMPTS" });
  expect(refused.retryAfterMs).toBeGreaterThan(0);
  expect(refused.retryAfterMs).toBeLessThanOrEqual(1_000);
  clock.jump(1_001);
  expect(await reasonOf(guess(auth))).toBe("INVALID_CREDENTIALS");
  expect((await refusalOf(guess(auth))).retryAfterMs).toBeGreaterThan(1_000);
});

test("other spellings of the name, and other addresses, are no way around", async () => {
  const username = await user();
  for (let n = 0; n < 10; n += 1) {
    const spelling = n % 2 === 0 ? username.toUpperCase() : username;
    expect(await reasonOf(auth.auth.login({ username: spelling, password: "no" }, from(`198.51.100.${n}`)))).toBe(
      "INVALID_CREDENTIALS",
    );
  }
  expect(await reasonOf(auth.auth.login({ username, password }, from("203.0.113.5")))).toBe("TOO_MANY_ATTEMPTS");
});

test("whoever signed in from somewhere can do so again, whatever strangers do elsewhere", async () => {
  const username = await user();
  const home = from("203.0.113.77");
  await auth.auth.login({ username, password }, home);
  for (let n = 0; n < 12; n += 1) {
    await reasonOf(auth.auth.login({ username, password: "no" }, from("198.51.100.66")));
  }
  expect(await reasonOf(auth.auth.login({ username, password }, from("198.51.100.67")))).toBe("TOO_MANY_ATTEMPTS");
  expect((await replica.auth.login({ username, password }, home)).user?.username).toBe(username);
});

test("of 300 guesses at once on two replicas ten are hashed, and one more per wait", {
  timeout: 120_000,
}, async () => {
  const username = await user();
  const guesses = Array.from({ length: 300 }, (_, n) =>
    (n % 2 === 0 ? auth : replica).auth.login({ username, password: `guess ${n}` }, from(`198.51.${n % 200}.1`)),
  );
  const counts = await countReasons(guesses);
  const hashed = counts.INVALID_CREDENTIALS ?? 0;
  // Ten at once, and one more for each wait of 1, 2, 4 s that passes while the others are refused.
  expect(hashed).toBeGreaterThanOrEqual(10);
  expect(hashed).toBeLessThanOrEqual(14);
  const { INVALID_CREDENTIALS: _hashed, TOO_MANY_ATTEMPTS, ...rest } = counts;
  expect(TOO_MANY_ATTEMPTS).toBeGreaterThan(0);
  // On a machine that is busy the queues are full before the throttle is asked.
  expect(Object.keys(rest).filter((reason) => reason !== "HASHING_BUSY" && reason !== "OVERLOADED")).toEqual([]);
});

test("parallel honest logins of one user are never refused for each other", { timeout: 120_000 }, async () => {
  const username = await user();
  // One place is left, so that they have to wait for one another.
  for (let n = 0; n < 9; n += 1) await reasonOf(auth.auth.login({ username, password: "no" }, from("192.0.2.8")));
  const logins = Array.from({ length: 24 }, (_, n) =>
    (n % 2 === 0 ? auth : replica).auth.login({ username, password }, from(`192.0.2.${n}`)),
  );
  const names = (await Promise.all(logins)).map((answer) => answer.user?.username);
  expect(new Set(names)).toEqual(new Set([username]));
});

/** Twenty at a time, while the wall clock stands still. */
async function countFrozen(count: number, call: () => Promise<unknown>): Promise<Record<string, number>> {
  const total: Record<string, number> = {};
  clock.freeze();
  for (let made = 0; made < count; made += 20) {
    const counts = await countReasons(Array.from({ length: Math.min(20, count - made) }, call));
    for (const [reason, n] of Object.entries(counts)) total[reason] = (total[reason] ?? 0) + n;
  }
  return total;
}

test("registrations of one address have a burst of 100, then one per second", { timeout: 120_000 }, async () => {
  const bad = (address: string) => () => auth.auth.register({ username: "x", password: "x" }, from(address));
  expect(await countFrozen(110, bad("203.0.113.200"))).toEqual({ INVALID_FIELD: 100, TOO_MANY_ATTEMPTS: 10 });
  clock.jump(1_000);
  expect(await countFrozen(3, bad("203.0.113.200"))).toEqual({ INVALID_FIELD: 1, TOO_MANY_ATTEMPTS: 2 });
  expect(await countFrozen(1, bad("203.0.113.201"))).toEqual({ INVALID_FIELD: 1 });
  clock.unfreeze();
});

test("service tokens of one address have a burst of 100, then ten per second", { timeout: 120_000 }, async () => {
  const guess = () => auth.tokens.issueServiceToken({ clientId: "x", clientSecret: "x" }, from("203.0.113.210"));
  expect(await countFrozen(120, guess)).toEqual({ INVALID_CREDENTIALS: 100, TOO_MANY_ATTEMPTS: 20 });
  clock.jump(1_000);
  expect(await countFrozen(13, guess)).toEqual({ INVALID_CREDENTIALS: 10, TOO_MANY_ATTEMPTS: 3 });
  clock.unfreeze();
});
