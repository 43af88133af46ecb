import { randomUUID } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { implement } from "#platform/rpc/service.ts";
import { startTestService, type TestService } from "#platform/testing/test-service.ts";
import { userQuotaHandlers } from "./rpcs.ts";
import { createFixture, type Fixture } from "./testing/fixture.ts";

let fixture: Fixture;
let server: TestService;
beforeAll(async () => {
  const stack = new AsyncDisposableStack();
  fixture = stack.use(await createFixture());
  server = stack.use(
    await startTestService({ services: [implement(UserQuotaService, userQuotaHandlers(fixture.deps))] }),
  );
  return () => stack.disposeAsync();
});

type Json = Readonly<Record<string, unknown>>;

/** As curl would call it. */
async function call(method: string, body: Json, authorization?: string): Promise<{ status: number; json: Json }> {
  const response = await fetch(`${server.url}/decentrastore.user_quota.v1.UserQuotaService/${method}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(authorization === undefined ? {} : { authorization }) },
    body: JSON.stringify(body),
  });
  const json: Json = JSON.parse(await response.text());
  return { status: response.status, json };
}

function reasonOf(json: Json): unknown {
  return Array.isArray(json.details) ? json.details.map((detail) => detail.debug?.reason).find(Boolean) : undefined;
}

test("quota, reservation and refusal as JSON over HTTP/1.1", async () => {
  const userId = randomUUID();
  const own = await server.issuer.user(userId);
  const { json } = await call("GetQuota", { userId }, own);
  const nothingYet = { storageUsedBytes: "0", storageReservedBytes: "0", isOverQuota: false };
  expect(json).toEqual({ quota: { userId, storageQuotaBytes: "10737418240", ...nothingYet } });
  const gateway = await server.issuer.service("gateway", ["quota.reserve"]);
  const ask = { userId, sizeBytes: "10737418240", idempotencyKey: "upload/1", ttl: "600s" };
  const reserved = await call("ReserveStorage", ask, gateway);
  expect(reserved.json.reservation).toMatchObject({
    userId,
    sizeBytes: "10737418240",
    state: "RESERVATION_STATE_HELD",
  });
  const refused = await call("ReserveStorage", { ...ask, sizeBytes: 1, idempotencyKey: "upload/2" }, gateway);
  expect([refused.status, refused.json.code, reasonOf(refused.json)]).toEqual([
    429,
    "resource_exhausted",
    "QUOTA_EXCEEDED",
  ]);
  const overflow = await call("ReserveStorage", { ...ask, sizeBytes: "9223372036854775808" }, gateway);
  expect([overflow.status, overflow.json.code]).toEqual([400, "invalid_argument"]);
});

test("a user sees the own quota, ledger and explanation, not another's", async () => {
  const [userId, stranger] = [randomUUID(), await server.issuer.user(randomUUID())];
  const [own, admin] = [await server.issuer.user(userId), await server.issuer.user(randomUUID(), { isAdmin: true })];
  const reader = await server.issuer.service("reader", ["quota.read"]);
  for (const method of ["GetQuota", "ListLedgerEntries", "ExplainQuota"]) {
    expect((await call(method, { userId }, own)).status).toBe(200);
    expect((await call(method, { userId }, admin)).status).toBe(200);
    expect((await call(method, { userId }, reader)).status).toBe(200);
    const denied = await call(method, { userId }, stranger);
    expect([denied.status, reasonOf(denied.json)]).toEqual([403, "ACCESS_DENIED"]);
    expect((await call(method, { userId })).status).toBe(401);
  }
});

test.each([
  ["SetQuota", "admin"],
  ["ListAccounts", "admin"],
  ["ReconcileUsage", "admin"],
  ["ReserveStorage", "quota.reserve"],
  ["GetReservation", "quota.reserve"],
  ["ReleaseReservation", "quota.reserve or admin"],
])("%s is open to %s alone", async (method, admitted) => {
  const userId = randomUUID();
  const callers = {
    user: await server.issuer.user(userId),
    admin: await server.issuer.user(randomUUID(), { isAdmin: true }),
    "quota.reserve": await server.issuer.service("gateway", ["quota.reserve"]),
    "quota.read": await server.issuer.service("reader", ["quota.read"]),
  };
  for (const [kind, authorization] of Object.entries(callers)) {
    const { json } = await call(method, { userId }, authorization);
    const isDenied = reasonOf(json) === "ACCESS_DENIED";
    expect([kind, isDenied]).toEqual([kind, !admitted.split(" or ").includes(kind)]);
  }
});
