import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { AuditEventType } from "#gen/decentrastore/auth/v1/audit_event_pb.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zVoid } from "#platform/postgres/sql.ts";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { newAdmin, testPassword as password, type SignedIn, signIn } from "../testing/new-admin.ts";
import { reasonOf, refusalOf } from "../testing/refusals.ts";
import { bearer, startTestAuth, type TestAuth } from "../testing/start-test-auth.ts";

let db: TestDatabase;
let nats: TestNats;
let auth: TestAuth;
let pool: Pool;
let root: SignedIn;

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startTestNats()]);
  auth = await startTestAuth({ databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") });
  pool = await db.pool("auth");
  root = await newAdmin(auth, pool, "root");
});

afterAll(async () => {
  await auth[Symbol.asyncDispose]();
  await Promise.all([db[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

async function newUser(username = `user-${randomUUID()}`, email?: string) {
  const { user, tokens } = await auth.auth.register({ username, password, ...(email === undefined ? {} : { email }) });
  return { username, userId: user?.userId ?? "", headers: bearer(tokens?.accessToken), tokens };
}

const eventTypes = z.strictObject({ type: z.string(), keyVersion: z.bigint() });
const eventsOf = (userId: string) =>
  pool.any(
    sql.type(eventTypes)`select type, key_version "keyVersion" from auth.outbox where key = ${userId} order by id`,
  );

test("no RPC of administration is open to a user", async () => {
  const { userId, headers } = await newUser();
  const reason = "because";
  const calls = [
    auth.admin.listUsers({}, headers),
    auth.admin.getUser({ userId }, headers),
    auth.admin.setUserActive({ userId, isActive: false, reason }, headers),
    auth.admin.setUserAdmin({ userId, isAdmin: true, reason }, headers),
    auth.admin.deleteUser({ userId }, headers),
    auth.admin.listAuditEvents({}, headers),
    auth.tokens.createServiceClient({ name: "x", scopes: ["quota.read"] }, headers),
    auth.tokens.listServiceClients({}, headers),
    auth.tokens.rotateServiceClientSecret({ clientId: "x" }, headers),
    auth.tokens.revokeServiceClient({ clientId: "x" }, headers),
  ];
  expect(await Promise.all(calls.map((call) => reasonOf(call)))).toEqual(calls.map(() => "ACCESS_DENIED"));
});

test("users are found by the beginning of name or address, and pages show each exactly once", async () => {
  for (const n of [3, 1, 2, 5, 4]) await newUser(`Pagêd-${n}`, `zz-${n}@example.org`);
  await newUser("zz-top");
  const seen: string[] = [];
  let pageToken = "";
  do {
    const page = await auth.admin.listUsers({ query: "PAGÊD", pageSize: 2, pageToken }, root.headers);
    seen.push(...page.users.map((user) => user.username));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  expect(seen).toEqual([1, 2, 3, 4, 5].map((n) => `Pagêd-${n}`));
  const both: string[] = [];
  do {
    const page = await auth.admin.listUsers({ query: "zz-", pageSize: 2, pageToken }, root.headers);
    both.push(...page.users.map((user) => user.username));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  expect(both).toEqual(["zz-top", ...[1, 2, 3, 4, 5].map((n) => `Pagêd-${n}`)]);
  expect((await auth.admin.listUsers({ query: "' or true --%_" }, root.headers)).users).toEqual([]);
  const { users } = await auth.admin.listUsers({ query: root.userId }, root.headers);
  expect(users).toMatchObject([{ username: "root", keySalt: "" }]);
  expect(await reasonOf(auth.admin.listUsers({ query: "x".repeat(121) }, root.headers))).toBe("INVALID_FIELD");
  expect(await reasonOf(auth.admin.listUsers({ pageToken: "nonsense" }, root.headers))).toBe("INVALID_FIELD");
});

test("no e-mail address is too long for the page token that names it", async () => {
  const prefix = "paged\u{1f600}";
  const longest = (n: number) => `${prefix}${n}${"\u{1f600}".repeat(105)}@x.org`;
  for (const n of [1, 2]) await newUser(undefined, longest(n));
  const first = await auth.admin.listUsers({ query: prefix, pageSize: 1 }, root.headers);
  const second = await auth.admin.listUsers(
    { query: prefix, pageSize: 1, pageToken: first.nextPageToken },
    root.headers,
  );
  expect([first, second].map(({ users }) => users[0]?.email)).toEqual([1, 2].map(longest));
  // 113 characters that are 1,813 in the form in which addresses are compared.
  const growing = newUser(undefined, `paged-${"\ufdfa".repeat(100)}@x.org`);
  expect(await refusalOf(growing)).toMatchObject({ reason: "INVALID_FIELD", fields: ["email"] });
});

test("deactivation ends sessions and tokens at once; activation lets the user in again", async () => {
  const user = await newUser();
  const off = { userId: user.userId, isActive: false, reason: "asked for it" };
  expect((await auth.admin.setUserActive(off, root.headers)).user).toMatchObject({ isActive: false, keySalt: "" });
  await auth.admin.setUserActive(off, root.headers);
  expect(await reasonOf(auth.auth.getCurrentUser({}, user.headers))).toBe("TOKEN_INVALID");
  const { refreshToken } = user.tokens ?? {};
  expect(await reasonOf(auth.auth.refreshSession({ refreshToken: refreshToken ?? "" }))).toBe("REFRESH_TOKEN_INVALID");
  expect(await reasonOf(signIn(auth, user.username))).toBe("INVALID_CREDENTIALS");
  await auth.admin.setUserActive({ ...off, isActive: true }, root.headers);
  const again = await signIn(auth, user.username);
  expect((await auth.auth.getCurrentUser({}, again.headers)).user?.isActive).toBe(true);
  expect((await eventsOf(user.userId)).map((event) => [event.type.split(".").at(-1), event.keyVersion])).toEqual([
    ["UserRegistered", 1n],
    ["UserDeactivated", 2n],
    ["UserActivated", 3n],
  ]);
});

test("an admin's right comes with the next token and goes with every old one", async () => {
  const user = await newUser();
  const grant = { userId: user.userId, isAdmin: true, reason: "helps out" };
  await auth.admin.setUserAdmin(grant, root.headers);
  expect(await reasonOf(auth.admin.listUsers({}, user.headers))).toBe("ACCESS_DENIED");
  const admin = await signIn(auth, user.username);
  expect((await auth.admin.listUsers({ pageSize: 1 }, admin.headers)).users).toHaveLength(1);
  await auth.admin.setUserAdmin({ ...grant, isAdmin: false }, root.headers);
  expect(await reasonOf(auth.admin.listUsers({}, admin.headers))).toBe("TOKEN_INVALID");
  expect(await reasonOf(auth.admin.listUsers({}, (await signIn(auth, user.username)).headers))).toBe("ACCESS_DENIED");
});

test("two admins who take each other's rights at the same time cannot leave none", { timeout: 120_000 }, async () => {
  for (let round = 0; round < 15; round += 1) {
    const [a, b] = await Promise.all([newAdmin(auth, pool, `a-${round}`), newAdmin(auth, pool, `b-${round}`)]);
    await pool.query(sql.type(zVoid)`
      update auth.users set is_admin = false where id not in (${a.userId}, ${b.userId}) and is_admin`);
    const reason = "rivalry";
    const attacks = [
      (victim: string) => ({ userId: victim, isAdmin: false, reason }),
      (victim: string) => ({ userId: victim, isActive: false, reason }),
    ] as const;
    const call = (by: SignedIn, victim: SignedIn, n: number) => {
      if (n === 0) return auth.admin.setUserAdmin(attacks[0](victim.userId), by.headers);
      if (n === 1) return auth.admin.setUserActive(attacks[1](victim.userId), by.headers);
      return auth.admin.deleteUser({ userId: victim.userId }, by.headers);
    };
    await Promise.allSettled([call(a, b, round % 3), call(b, a, (round + 1) % 3)]);
    const admins = await pool.anyFirst(sql.type(z.strictObject({ username: z.string() }))`
      select username from auth.users where is_admin and is_active`);
    expect(admins).toHaveLength(1);
    const last = await signIn(auth, admins[0] ?? "");
    expect(await reasonOf(auth.admin.setUserAdmin(attacks[0](last.userId), last.headers))).toBe("LAST_ADMIN");
    expect(await reasonOf(auth.admin.setUserActive(attacks[1](last.userId), last.headers))).toBe("LAST_ADMIN");
    expect(await reasonOf(auth.admin.deleteUser({ userId: last.userId }, last.headers))).toBe("LAST_ADMIN");
  }
  await pool.query(sql.type(zVoid)`update auth.users set is_admin = true where id = ${root.userId}`);
});

test("deleting a user erases the person everywhere, also from the trail that cannot be changed", async () => {
  const user = await newUser(`Erased-${randomUUID()}`, `erased-${randomUUID()}@example.org`);
  await reasonOf(auth.auth.login({ username: user.username, password: "wrong" }));
  const trail = async () => (await auth.admin.listAuditEvents({ userId: user.userId }, root.headers)).auditEvents;
  expect((await trail()).map((event) => event.clientAddress)).toEqual(["127.0.0.1", "127.0.0.1"]);
  await auth.admin.deleteUser({ userId: user.userId }, root.headers);
  expect(await reasonOf(auth.admin.deleteUser({ userId: user.userId }, root.headers))).toBe("USER_NOT_FOUND");
  expect(await reasonOf(auth.auth.getCurrentUser({}, user.headers))).toBe("TOKEN_INVALID");
  const after = await trail();
  expect(after.map((event) => [event.type, event.clientAddress])).toEqual([
    [AuditEventType.DELETE_USER, "127.0.0.1"],
    [AuditEventType.LOGIN, ""],
    [AuditEventType.REGISTER, ""],
  ]);
  const tables = ["users", "sessions", "audit_events", "login_throttles", "outbox"];
  for (const table of tables) {
    const rows = await pool.anyFirst(sql.type(z.strictObject({ row: z.string() }))`
      select t::text "row" from ${sql.identifier(["auth", table])} t`);
    expect(rows.filter((row) => /erased-/i.test(row))).toEqual([]);
  }
  expect((await eventsOf(user.userId)).at(-1)?.type).toBe("decentrastore.events.v1.UserDeleted");
  // The name is free again, for somebody who is somebody else.
  expect((await newUser(user.username)).userId).not.toBe(user.userId);
});

test("the salt of a user cannot be changed, whoever tries", async () => {
  const owner = await db.pool("auth", { url: db.url("auth_owner") });
  await expect(owner.query(sql.type(zVoid)`update auth.users set salt = 'other'`)).rejects.toThrow();
});
