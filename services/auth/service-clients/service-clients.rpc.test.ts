import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { newAdmin, type SignedIn } from "../testing/new-admin.ts";
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

test("a service client has two valid secrets after a rotation, and none after it is revoked", async () => {
  const scopes = ["quota.read", "chunks.read"];
  const created = await auth.tokens.createServiceClient({ name: "gateway", scopes }, root.headers);
  const clientId = created.serviceClient?.clientId ?? "";
  const issue = (clientSecret: string) => auth.tokens.issueServiceToken({ clientId, clientSecret });
  expect(await reasonOf(auth.tokens.createServiceClient({ name: "gateway", scopes }, root.headers))).toBe(
    "SERVICE_CLIENT_NAME_TAKEN",
  );
  for (const bad of [[], ["quota.write"], ["quota.read", "quota.read"]]) {
    expect(await reasonOf(auth.tokens.createServiceClient({ name: "x", scopes: bad }, root.headers))).toBe(
      "INVALID_FIELD",
    );
  }
  const second = await auth.tokens.rotateServiceClientSecret({ clientId }, root.headers);
  await Promise.all([issue(created.clientSecret), issue(second.clientSecret)]);
  const third = await auth.tokens.rotateServiceClientSecret({ clientId }, root.headers);
  expect(await reasonOf(issue(created.clientSecret))).toBe("INVALID_CREDENTIALS");
  await Promise.all([issue(second.clientSecret), issue(third.clientSecret)]);
  const { serviceClients } = await auth.tokens.listServiceClients({}, root.headers);
  expect(serviceClients).toMatchObject([{ clientId, name: "gateway", scopes, lastUsedAt: expect.anything() }]);
  const revoked = await auth.tokens.revokeServiceClient({ clientId }, root.headers);
  expect(revoked.serviceClient?.revokedAt).toBeDefined();
  expect(await auth.tokens.revokeServiceClient({ clientId }, root.headers)).toEqual(revoked);
  expect(await reasonOf(issue(third.clientSecret))).toBe("INVALID_CREDENTIALS");
  expect(await reasonOf(auth.tokens.rotateServiceClientSecret({ clientId }, root.headers))).toBe(
    "SERVICE_CLIENT_REVOKED",
  );
  expect(await reasonOf(auth.tokens.revokeServiceClient({ clientId: "x\0" }, root.headers))).toBe("INVALID_FIELD");
  expect(await reasonOf(auth.tokens.revokeServiceClient({ clientId: "nobody" }, root.headers))).toBe(
    "SERVICE_CLIENT_NOT_FOUND",
  );
});
