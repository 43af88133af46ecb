import { decodeJwt } from "jose";
import { expect, test } from "vitest";
import { createTestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats } from "#platform/testing/test-nats.ts";
import { testPassword as password } from "../testing/new-admin.ts";
import { reasonOf } from "../testing/refusals.ts";
import { createShiftedClock } from "../testing/shifted-clock.ts";
import { bearer, startTestAuth, type TestAuth } from "../testing/start-test-auth.ts";

test.each(["logout", "revoking all"])("%s ends a token from a replica whose clock is ahead", async (what) => {
  await using db = await createTestDatabase();
  await using nats = await startTestNats();
  const urls = { databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") };
  const [clock, ahead] = [createShiftedClock(), createShiftedClock()];
  ahead.freeze();
  clock.freeze();
  ahead.jump(3_000);
  await using right = await startTestAuth(urls, {}, clock);
  await using fast = await startTestAuth(urls, {}, ahead);
  const { tokens: first } = await right.auth.register({ username: "traveller", password });
  const refresh = async (on: TestAuth, refreshToken = "") => (await on.auth.refreshSession({ refreshToken })).tokens;
  const early = await refresh(fast, first?.refreshToken);
  const last = await refresh(right, early?.refreshToken);
  const owner = bearer(last?.accessToken);
  expect((await right.auth.getCurrentUser({}, bearer(early?.accessToken))).user?.username).toBe("traveller");
  if (what === "logout") await right.auth.logout({}, owner);
  else await right.auth.revokeAllSessions({}, owner);
  for (const tokens of [first, early, last]) {
    expect(await reasonOf(right.auth.getCurrentUser({}, bearer(tokens?.accessToken)))).toBe("TOKEN_INVALID");
  }
  // As good as the one before it, wherever that was good.
  expect(decodeJwt(last?.accessToken ?? "").iat).toBe(decodeJwt(early?.accessToken ?? "").iat);
});
