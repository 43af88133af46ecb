import { randomUUID } from "node:crypto";
import { decodeJwt } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { reasonOf } from "../testing/refusals.ts";
import { createShiftedClock } from "../testing/shifted-clock.ts";
import { bearer, startTestAuth, type TestAuth } from "../testing/start-test-auth.ts";

let db: TestDatabase;
let nats: TestNats;
let auth: TestAuth;
const clock = createShiftedClock();

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startTestNats()]);
  auth = await startTestAuth({ databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") }, {}, clock);
});

afterAll(async () => {
  await auth[Symbol.asyncDispose]();
  await Promise.all([db[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

const password = "a long and unusual phrase";
const YEAR_MS = 365 * 86_400_000;

async function signIn(username = `user-${randomUUID()}`) {
  const { user, tokens } = await auth.auth.register({ username, password });
  if (user === undefined || tokens === undefined) throw new Error("no tokens");
  return { username, userId: user.userId, ...tokens };
}

function refresh(refreshToken: string) {
  return auth.auth.refreshSession({ refreshToken });
}

test("a refresh gives the next pair, and repeats its answer to the byte for whoever lost it", async () => {
  const first = await signIn();
  clock.jump(1_000);
  const second = await refresh(first.refreshToken);
  expect(second.tokens?.refreshToken).not.toBe(first.refreshToken);
  expect((await auth.auth.getCurrentUser({}, bearer(second.tokens?.accessToken))).user?.userId).toBe(first.userId);
  clock.jump(18_000);
  expect(await refresh(first.refreshToken)).toEqual(second);
});

test("after 20 seconds the token before the newest is a theft, and ends the session", async () => {
  const first = await signIn();
  const second = await refresh(first.refreshToken);
  clock.jump(20_001);
  expect(await reasonOf(refresh(first.refreshToken))).toBe("REFRESH_TOKEN_INVALID");
  expect(await reasonOf(refresh(second.tokens?.refreshToken ?? ""))).toBe("REFRESH_TOKEN_INVALID");
  expect(await reasonOf(auth.auth.getCurrentUser({}, bearer(second.tokens?.accessToken)))).toBe("TOKEN_INVALID");
});

test("a clock that was set back since the last refresh does not stretch the 20 seconds", async () => {
  const first = await signIn();
  const second = await refresh(first.refreshToken);
  clock.jump(-60_000);
  expect(await reasonOf(refresh(first.refreshToken))).toBe("REFRESH_TOKEN_INVALID");
  expect(await reasonOf(refresh(second.tokens?.refreshToken ?? ""))).toBe("REFRESH_TOKEN_INVALID");
  clock.jump(60_000);
});

test("once the newest token has been used, the one before it is a theft at once", async () => {
  const first = await signIn();
  const second = await refresh(first.refreshToken);
  const third = await refresh(second.tokens?.refreshToken ?? "");
  expect(await refresh(second.tokens?.refreshToken ?? "")).toEqual(third);
  expect(await reasonOf(refresh(first.refreshToken))).toBe("REFRESH_TOKEN_INVALID");
  expect(await reasonOf(refresh(third.tokens?.refreshToken ?? ""))).toBe("REFRESH_TOKEN_INVALID");
});

test("nothing but a token of ours is looked up, and nothing about a wrong one is told", async () => {
  const { refreshToken } = await signIn();
  const flipped = `${refreshToken.slice(0, -2)}${refreshToken.at(-2) === "A" ? "B" : "A"}${refreshToken.slice(-1)}`;
  const wrong = ["", "x", flipped, `${refreshToken}=`, refreshToken.toUpperCase(), "x".repeat(100_000), "dsr1_\0"];
  for (const token of wrong) expect(await reasonOf(refresh(token))).toBe("REFRESH_TOKEN_INVALID");
  expect((await refresh(refreshToken)).tokens?.accessToken).toBeDefined();
});

test("a session ends after 14 silent days, and after 30 days however busy", async () => {
  const silent = await signIn();
  const busy = await signIn();
  const day = 86_400_000;
  clock.jump(13 * day);
  let newest = (await refresh(busy.refreshToken)).tokens?.refreshToken ?? "";
  clock.jump(13 * day);
  newest = (await refresh(newest)).tokens?.refreshToken ?? "";
  expect(await reasonOf(refresh(silent.refreshToken))).toBe("REFRESH_TOKEN_INVALID");
  clock.jump(4 * day - 30_000);
  newest = (await refresh(newest)).tokens?.refreshToken ?? "";
  clock.jump(31_000);
  expect(await reasonOf(refresh(newest))).toBe("REFRESH_TOKEN_INVALID");
});

test("a user sees its sessions, ends one, and the others go on", async () => {
  const first = await signIn();
  clock.jump(1_000);
  const { tokens } = await auth.auth.login(
    { username: first.username, password },
    { headers: { "user-agent": `Phone ${"x".repeat(300)}` } },
  );
  const { sessions } = await auth.auth.listSessions({}, bearer(tokens?.accessToken));
  expect(sessions.map((session) => session.isCurrent)).toEqual([true, false]);
  expect(sessions[0]).toMatchObject({ clientAddress: "127.0.0.1" });
  expect(sessions[0]?.userAgent).toHaveLength(256);
  const page = await auth.auth.listSessions({ pageSize: 1 }, bearer(tokens?.accessToken));
  const rest = await auth.auth.listSessions(
    { pageSize: 1, pageToken: page.nextPageToken },
    bearer(tokens?.accessToken),
  );
  expect([...page.sessions, ...rest.sessions]).toEqual(sessions);

  const sessionId = sessions[1]?.sessionId ?? "";
  const revoked = await auth.auth.revokeSession({ sessionId }, bearer(tokens?.accessToken));
  expect(revoked.session?.revokedAt).toBeDefined();
  expect(await auth.auth.revokeSession({ sessionId }, bearer(tokens?.accessToken))).toEqual(revoked);
  expect(await reasonOf(auth.auth.getCurrentUser({}, bearer(first.accessToken)))).toBe("TOKEN_INVALID");
  expect(await reasonOf(refresh(first.refreshToken))).toBe("REFRESH_TOKEN_INVALID");
  expect((await refresh(tokens?.refreshToken ?? "")).tokens).toBeDefined();
});

test("nobody ends, or learns of, a session of somebody else", async () => {
  const [mine, theirs] = [await signIn(), await signIn()];
  const { sessions } = await auth.auth.listSessions({}, bearer(theirs.accessToken));
  const sessionId = sessions[0]?.sessionId ?? "";
  for (const id of [sessionId, randomUUID()]) {
    expect(await reasonOf(auth.auth.revokeSession({ sessionId: id }, bearer(mine.accessToken)))).toBe(
      "SESSION_NOT_FOUND",
    );
  }
  expect((await refresh(theirs.refreshToken)).tokens).toBeDefined();
});

test("logging out ends this session only; revoking all ends every one, and a login within the same second is good", async () => {
  const first = await signIn();
  const second = (await auth.auth.login({ username: first.username, password })).tokens;
  await auth.auth.logout({}, bearer(first.accessToken));
  expect(await reasonOf(auth.auth.logout({}, bearer(first.accessToken)))).toBe("TOKEN_INVALID");
  expect(await reasonOf(refresh(first.refreshToken))).toBe("REFRESH_TOKEN_INVALID");
  expect(await auth.auth.revokeAllSessions({}, bearer(second?.accessToken))).toMatchObject({ revokedSessions: 1 });
  expect(await reasonOf(auth.auth.getCurrentUser({}, bearer(second?.accessToken)))).toBe("TOKEN_INVALID");
  for (let round = 0; round < 3; round += 1) {
    const again = (await auth.auth.login({ username: first.username, password })).tokens;
    expect((await auth.auth.getCurrentUser({}, bearer(again?.accessToken))).user).toBeDefined();
    await auth.auth.revokeAllSessions({}, bearer(again?.accessToken));
    expect(await reasonOf(auth.auth.getCurrentUser({}, bearer(again?.accessToken)))).toBe("TOKEN_INVALID");
  }
});

test("whoever goes on revoking all and signing in gets tokens that are good at once, and not of a later time", async () => {
  const { username } = await signIn();
  for (let round = 0; round < 5; round += 1) {
    const { tokens } = await auth.auth.login({ username, password });
    const { iat } = decodeJwt(tokens?.accessToken ?? "");
    expect(Number(iat) * 1_000 - clock.now().epochMilliseconds).toBeLessThan(2_000);
    await auth.auth.revokeAllSessions({}, bearer(tokens?.accessToken));
  }
});

test("who revoked all while the clock was years ahead signs in when it is right again, and may revoke all again", async () => {
  const { username } = await signIn();
  clock.jump(2 * YEAR_MS);
  const ahead = (await auth.auth.login({ username, password })).tokens;
  await auth.auth.revokeAllSessions({}, bearer(ahead?.accessToken));
  clock.jump(-2 * YEAR_MS);
  expect(await reasonOf(auth.auth.getCurrentUser({}, bearer(ahead?.accessToken)))).toBe("TOKEN_INVALID");
  const first = (await auth.auth.login({ username, password })).tokens;
  const second = (await refresh(first?.refreshToken ?? "")).tokens;
  for (const tokens of [first, second]) {
    expect((await auth.auth.getCurrentUser({}, bearer(tokens?.accessToken))).user?.username).toBe(username);
  }
  await auth.auth.revokeAllSessions({}, bearer(second?.accessToken));
  expect(await reasonOf(auth.auth.getCurrentUser({}, bearer(second?.accessToken)))).toBe("TOKEN_INVALID");
});

test("a password change ends the other sessions, keeps this one and the salt", async () => {
  const first = await signIn();
  const second = (await auth.auth.login({ username: first.username, password })).tokens;
  const change = (currentPassword: string, newPassword: string) =>
    auth.auth.changePassword({ currentPassword, newPassword }, bearer(second?.accessToken));
  expect(await reasonOf(change(password, "short"))).toBe("INVALID_FIELD");
  expect(await reasonOf(change(password, password))).toBe("INVALID_FIELD");
  expect(await reasonOf(change("wrong", "another unusual phrase"))).toBe("INVALID_CREDENTIALS");
  const { user } = await auth.auth.getCurrentUser({}, bearer(second?.accessToken));
  const changed = await change(password, "another unusual phrase");
  expect(changed.user?.keySalt).toBe(user?.keySalt);
  expect(await reasonOf(auth.auth.getCurrentUser({}, bearer(first.accessToken)))).toBe("TOKEN_INVALID");
  expect(await reasonOf(refresh(first.refreshToken))).toBe("REFRESH_TOKEN_INVALID");
  expect((await refresh(second?.refreshToken ?? "")).tokens).toBeDefined();
  expect(await reasonOf(auth.auth.login({ username: first.username, password }))).toBe("INVALID_CREDENTIALS");
  await auth.auth.login({ username: first.username, password: "another unusual phrase" });
});

test("a session that has just ended by itself leaves no access token that a revocation misses", async () => {
  let tokens: { accessToken: string; refreshToken: string } | undefined = await signIn();
  const day = 86_400_000;
  for (const ms of [13 * day, 13 * day, 4 * day - 60_000]) {
    clock.jump(ms);
    tokens = (await refresh(tokens?.refreshToken ?? "")).tokens;
  }
  clock.jump(120_000);
  expect(await reasonOf(refresh(tokens?.refreshToken ?? ""))).toBe("REFRESH_TOKEN_INVALID");
  const last = bearer(tokens?.accessToken);
  expect((await auth.auth.getCurrentUser({}, last)).user).toBeDefined();
  await auth.auth.revokeAllSessions({}, last);
  expect(await reasonOf(auth.auth.getCurrentUser({}, last))).toBe("TOKEN_INVALID");
});
