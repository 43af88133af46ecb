import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { AuditEventType, AuditResult } from "#gen/decentrastore/auth/v1/audit_event_pb.ts";
import { UserSessionsRevokedSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";
import { fromTimestamp } from "#platform/rpc/time.ts";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { newAdmin, testPassword } from "../testing/new-admin.ts";
import { reasonOf } from "../testing/refusals.ts";
import { createShiftedClock } from "../testing/shifted-clock.ts";
import { bearer, startTestAuth, type TestAuth } from "../testing/start-test-auth.ts";
import { deleteOldSessions } from "./sessions.store.ts";

let db: TestDatabase;
let nats: TestNats;
let auth: TestAuth;
let pool: Pool;
const clock = createShiftedClock();

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startTestNats()]);
  auth = await startTestAuth({ databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") }, {}, clock);
  pool = await db.pool("auth");
});

afterAll(async () => {
  await auth[Symbol.asyncDispose]();
  await Promise.all([db[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

test("a theft says why in the event and in the trail, and happens once however many thieves come", async () => {
  const { user, tokens: first } = await auth.auth.register({ username: "robbed", password: testPassword });
  const userId = user?.userId ?? "";
  const refresh = (token: string | undefined) => auth.auth.refreshSession({ refreshToken: token ?? "" });
  const second = await refresh(first?.refreshToken);
  await refresh(second.tokens?.refreshToken);
  const thieves = Array.from({ length: 10 }, () => reasonOf(refresh(first?.refreshToken)));
  expect(new Set(await Promise.all(thieves))).toEqual(new Set(["REFRESH_TOKEN_INVALID"]));

  const rows = await pool.any(sql.type(z.strictObject({ subject: z.string(), payload: z.instanceof(Buffer) }))`
    select subject, payload from auth.outbox where key = ${userId} order by id`);
  const told = rows.slice(1).map(({ payload }) => fromBinary(UserSessionsRevokedSchema, payload));
  expect(told).toHaveLength(1);
  expect(told[0]).toMatchObject({ userId, reason: "refresh_token_reused", sessionIds: [expect.any(String)] });
  const validAfter = told[0]?.validAfter;
  expect(validAfter && fromTimestamp(validAfter).epochMilliseconds % 1_000).toBe(0);
  expect(rows[1]?.subject).toBe(`decentrastore.user.sessions_revoked.${userId}`);

  const root = await newAdmin(auth, pool, "root");
  const { auditEvents } = await auth.admin.listAuditEvents(
    { userId, type: AuditEventType.REFRESH_TOKEN_REUSE },
    root.headers,
  );
  expect(auditEvents).toMatchObject([
    {
      result: AuditResult.REFUSED,
      errorReason: "REFRESH_TOKEN_INVALID",
      sessionId: told[0]?.sessionIds[0],
      clientAddress: "127.0.0.1",
      reason: expect.stringContaining("used again"),
    },
  ]);
});

test("whoever goes on with the token of a dead session does not fill the trail", async () => {
  const { user, tokens } = await auth.auth.register({ username: "persistent", password: testPassword });
  const userId = user?.userId ?? "";
  await auth.auth.logout({}, bearer(tokens?.accessToken));
  const refusals = () =>
    pool.oneFirst(sql.type(z.strictObject({ n: z.int() }))`
    select count(*)::int n from auth.audit_events where user_id = ${userId} and type = 'REFRESH'`);
  const refreshToken = tokens?.refreshToken ?? "";
  const retry = async (times: number) => {
    const calls = Array.from({ length: times }, () => reasonOf(auth.auth.refreshSession({ refreshToken })));
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["REFRESH_TOKEN_INVALID"]));
  };
  clock.freeze();
  await retry(30);
  expect(await refusals()).toBe(10);
  clock.jump(60_000);
  await retry(5);
  expect(await refusals()).toBe(11);
  clock.unfreeze();
});

test("sessions that ended a month ago are removed, living ones stay", async () => {
  await auth.auth.register({ username: "old", password: testPassword });
  const count = () => pool.oneFirst(sql.type(z.strictObject({ n: z.bigint() }))`select count(*) n from auth.sessions`);
  const before = await count();
  expect(await deleteOldSessions(pool, clock.now().add({ hours: 24 * 29 }), 100)).toBe(0);
  expect(await deleteOldSessions(pool, clock.now().add({ hours: 24 * 31 }), 1)).toBe(1);
  expect(await count()).toBe(before - 1n);
});
