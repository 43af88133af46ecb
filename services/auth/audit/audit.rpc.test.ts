import { afterAll, beforeAll, expect, test } from "vitest";
import { AuditEventType, AuditResult } from "#gen/decentrastore/auth/v1/audit_event_pb.ts";
import { sql, zVoid } from "#platform/postgres/sql.ts";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { newAdmin, type SignedIn, testPassword } from "../testing/new-admin.ts";
import { reasonOf } from "../testing/refusals.ts";
import { startTestAuth, type TestAuth } from "../testing/start-test-auth.ts";

let db: TestDatabase;
let nats: TestNats;
let auth: TestAuth;
let root: SignedIn;

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startTestNats()]);
  auth = await startTestAuth({ databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") });
  root = await newAdmin(auth, await db.pool("auth"), "root");
});

afterAll(async () => {
  await auth[Symbol.asyncDispose]();
  await Promise.all([db[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

test("the trail can be read by every filter, in pages, and nobody can change it", async () => {
  const { user } = await auth.auth.register({ username: "watched", password: testPassword });
  const userId = user?.userId ?? "";
  for (let n = 0; n < 3; n += 1) await reasonOf(auth.auth.login({ username: "watched", password: "wrong" }));
  const filter = { userId, type: AuditEventType.LOGIN, result: AuditResult.REFUSED };
  const first = await auth.admin.listAuditEvents({ ...filter, pageSize: 2 }, root.headers);
  const rest = await auth.admin.listAuditEvents(
    { ...filter, pageSize: 2, pageToken: first.nextPageToken },
    root.headers,
  );
  const ids = [...first.auditEvents, ...rest.auditEvents].map((event) => event.auditEventId);
  expect(new Set(ids).size).toBe(3);
  expect(first.auditEvents[0]).toMatchObject({ errorReason: "INVALID_CREDENTIALS", actorId: "", userId });
  const none = await auth.admin.listAuditEvents(
    { userId, occurredBefore: { seconds: 1_000n, nanos: 0 } },
    root.headers,
  );
  expect(none.auditEvents).toEqual([]);
  const byRoot = await auth.admin.listAuditEvents({ actorId: root.userId, pageSize: 1 }, root.headers);
  expect(byRoot.auditEvents[0]?.actorId).toBe(root.userId);
  for (const url of [db.url("auth_app"), db.url("auth_owner")]) {
    const other = await db.pool("auth", { url });
    for (const statement of [
      sql.type(zVoid)`update auth.audit_events set reason = 'nothing happened'`,
      sql.type(zVoid)`delete from auth.audit_events`,
      sql.type(zVoid)`truncate auth.audit_events`,
    ]) {
      await expect(other.query(statement)).rejects.toThrow();
    }
  }
});

test("an admin's address in what it did to others goes with the admin, not with them", async () => {
  const admin = await newAdmin(auth, await db.pool("auth"), "leaving");
  const { user } = await auth.auth.register({ username: "staying", password: testPassword });
  const userId = user?.userId ?? "";
  const reason = "an exercise";
  for (const isActive of [false, true]) await auth.admin.setUserActive({ userId, isActive, reason }, admin.headers);
  for (const isAdmin of [true, false]) await auth.admin.setUserAdmin({ userId, isAdmin, reason }, admin.headers);
  const addresses = async () => {
    const { auditEvents } = await auth.admin.listAuditEvents({ userId, actorId: admin.userId }, root.headers);
    return auditEvents.map((event) => event.clientAddress);
  };
  expect(await addresses()).toEqual(Array.from({ length: 4 }, () => "127.0.0.1"));
  await auth.admin.deleteUser({ userId: admin.userId }, root.headers);
  expect(await addresses()).toEqual(["", "", "", ""]);
});
