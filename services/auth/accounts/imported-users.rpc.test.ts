import { randomBytes, randomUUID } from "node:crypto";
import bcrypt from "bcrypt";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { systemClock } from "#platform/time/clock.ts";
import { reasonOf } from "../testing/refusals.ts";
import { bearer, startTestAuth, type TestAuth } from "../testing/start-test-auth.ts";
import { nameKey } from "./username.ts";
import { insertUser } from "./users.store.ts";

let db: TestDatabase;
let nats: TestNats;
let auth: TestAuth;
let pool: Pool;

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startTestNats()]);
  auth = await startTestAuth({ databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") });
  pool = await db.pool("auth");
});

afterAll(async () => {
  await auth[Symbol.asyncDispose]();
  await Promise.all([db[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

/** As the import writes it: name, hash and salt of the original system as they were. */
async function imported(passwordHash: string) {
  const [userId, username] = [randomUUID(), `Old ${randomUUID()}`];
  await insertUser(pool, {
    userId,
    username,
    usernameKey: nameKey(username),
    email: null,
    emailKey: null,
    passwordHash,
    salt: "original salt",
    createdAt: systemClock.now(),
    isAdmin: false,
    personalKey: randomBytes(32),
  });
  return { userId, username };
}

async function hashOf(userId: string): Promise<string> {
  return await pool.oneFirst(sql.type(z.strictObject({ hash: z.string() }))`
    select password_hash hash from auth.users where id = ${userId}`);
}

test("an imported user signs in with the old password, once by bcrypt and then by argon2id; the salt stays", async () => {
  const user = await imported(await bcrypt.hash("short", 6));
  expect(await reasonOf(auth.auth.login({ username: user.username, password: "wrong" }))).toBe("INVALID_CREDENTIALS");
  expect(await hashOf(user.userId)).toMatch(/^\$2b\$/);
  // Two at once: one of them renews the hash under the other's feet.
  const logins = await Promise.all([1, 2].map(() => auth.auth.login({ username: user.username, password: "short" })));
  for (const { user: found } of logins) expect(found).toMatchObject({ userId: user.userId, keySalt: "original salt" });
  expect(await hashOf(user.userId)).toMatch(/^\$argon2id\$v=19\$m=7168,t=1,p=1\$/);
  await auth.auth.login({ username: user.username, password: "short" });

  const { tokens } = await auth.auth.login({ username: user.username, password: "short" });
  const newPassword = "a long and unusual phrase";
  const changed = await auth.auth.changePassword(
    { currentPassword: "short", newPassword },
    bearer(tokens?.accessToken),
  );
  expect(changed.user?.keySalt).toBe("original salt");
});

test("an imported password of more than 72 bytes keeps counting as far as the original system looked", async () => {
  const long = `${"p".repeat(70)}tail that nobody ever checked`;
  const user = await imported((await bcrypt.hash(long, 4)).replace("$2b$", "$2y$"));
  for (const password of [`${"p".repeat(70)}ta and something else`, long, long]) {
    expect((await auth.auth.login({ username: user.username, password })).user?.userId).toBe(user.userId);
  }
  expect(await hashOf(user.userId)).toContain("argon2id");
  expect(await reasonOf(auth.auth.login({ username: user.username, password: "p".repeat(71) }))).toBe(
    "INVALID_CREDENTIALS",
  );
});

test("a stored hash that costs too much, or is none, is a failed login and nothing else", async () => {
  for (const hash of [`$2b$31$${"a".repeat(53)}`, "$argon2id$v=19$m=4194304,t=100,p=1$c2FsdHNhbHQ$AAAA", "x"]) {
    const user = await imported(hash);
    expect(await reasonOf(auth.auth.login({ username: user.username, password: "x" }))).toBe("INVALID_CREDENTIALS");
  }
});

test("hashes are renewed at the next login when the parameters change", async () => {
  const password = "a long and unusual phrase";
  const { user } = await auth.auth.register({ username: "renewed", password });
  await using stronger = await startTestAuth(
    { databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") },
    { ARGON2_PASSES: "2" },
  );
  await stronger.auth.login({ username: "renewed", password });
  expect(await hashOf(user?.userId ?? "")).toMatch(/^\$argon2id\$v=19\$m=7168,t=2,p=1\$/);
  await auth.auth.login({ username: "renewed", password });
});
