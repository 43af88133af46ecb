import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { reasonOf, refusalOf } from "../testing/refusals.ts";
import { bearer, startTestAuth, type TestAuth } from "../testing/start-test-auth.ts";

let db: TestDatabase;
let nats: TestNats;
let auth: TestAuth;

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startTestNats()]);
  auth = await startTestAuth({ databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") });
});

afterAll(async () => {
  await auth[Symbol.asyncDispose]();
  await Promise.all([db[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

const password = "a long and unusual phrase";

test("whoever registers is signed in, and can sign in again under the name in any case", async () => {
  const registered = await auth.auth.register({ username: "Ångström", password, email: "a@example.org" });
  expect(registered.user).toMatchObject({
    username: "Ångström",
    email: "a@example.org",
    isActive: true,
    isAdmin: false,
  });
  expect(registered.user?.keySalt).toMatch(/^[0-9a-f]{32}$/);
  const loggedIn = await auth.auth.login({ username: "ångstrÖM", password });
  expect(loggedIn.user).toMatchObject({ userId: registered.user?.userId, keySalt: registered.user?.keySalt });
  const current = await auth.auth.getCurrentUser({}, bearer(loggedIn.tokens?.accessToken));
  expect(current.user).toEqual(loggedIn.user);
  expect(current.user?.lastLogin).toBeDefined();
});

test("an access token is what the contract says, and any JOSE library verifies it with the published keys", async () => {
  const { user, tokens } = await auth.auth.register({ username: "jose", password });
  const keySet = createRemoteJWKSet(new URL(`${auth.url}/.well-known/jwks.json`));
  const { payload, protectedHeader } = await jwtVerify(tokens?.accessToken ?? "", keySet, {
    issuer: "decentrastore",
    audience: "decentrastore",
    typ: "at+jwt",
    algorithms: ["EdDSA"],
  });
  expect(payload).toMatchObject({ sub: user?.userId, roles: ["user"], sid: expect.any(String) });
  expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(300);
  expect(decodeProtectedHeader(tokens?.accessToken ?? "")).toEqual(protectedHeader);
  const { keys } = await auth.tokens.getJsonWebKeySet({});
  expect(keys.map((key) => key.kid)).toContain(protectedHeader.kid);
  const published = await fetch(`${auth.url}/.well-known/jwks.json`);
  expect(published.headers.get("cache-control")).toBe("public, max-age=300");
  expect(JSON.stringify(await published.json())).not.toContain('"d"');
});

test("every failed login gets the same answer, whatever was sent", async () => {
  await auth.auth.register({ username: "known", password });
  const attempts = [
    { username: "known", password: "wrong" },
    { username: "known", password: "" },
    { username: "known", password: "x".repeat(100_000) },
    { username: "known", password: "zero\0byte" },
    { username: "known", password: "\ud800 lone surrogate" },
    { username: "unknown", password },
    { username: "", password: "" },
    { username: "zero\0byte", password },
    { username: "\udfff", password },
    { username: "n".repeat(100_000), password },
    { username: "' or 1=1; drop table auth.users; --", password },
    { username: 'x\n{"level":"fatal","msg":"forged"}', password },
  ];
  const refusals = await Promise.all(attempts.map((attempt) => refusalOf(auth.auth.login(attempt))));
  expect(new Set(refusals.map((refusal) => JSON.stringify(refusal))).size).toBe(1);
  expect(refusals[0]).toMatchObject({ code: 16, reason: "INVALID_CREDENTIALS" });
  expect((await auth.auth.login({ username: "known", password })).user?.username).toBe("known");
});

test("names and addresses are unique as readers see them", async () => {
  await auth.auth.register({ username: "Straße", password, email: "Strasse@example.org" });
  for (const username of ["straße", "STRASSE", "strasse", "ｓｔｒａｓｓｅ"]) {
    expect(await reasonOf(auth.auth.register({ username, password }))).toBe("USERNAME_TAKEN");
  }
  const email = "STRASSE@EXAMPLE.ORG";
  expect(await reasonOf(auth.auth.register({ username: "another", password, email }))).toBe("EMAIL_TAKEN");
});

test("a bad registration names every field that breaks a rule, and leaves nothing behind", async () => {
  const bad = [
    { username: "ab", password: "short", email: "nowhere" },
    { username: "tab\there", password: "x".repeat(257), email: `${"x".repeat(120)}@example.org` },
    { username: "\ud800\ud800\ud800", password: "\ud800 lone surrogate", email: "a\0@b" },
    { username: "n".repeat(81), password: "password1234", email: "a@b@c" },
  ];
  for (const request of bad) {
    const refusal = await refusalOf(auth.auth.register(request));
    expect(refusal).toMatchObject({ code: 3, reason: "INVALID_FIELD", fields: ["username", "email", "password"] });
  }
});
