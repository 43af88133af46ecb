import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { newAdmin } from "./testing/new-admin.ts";
import { reasonOf } from "./testing/refusals.ts";
import { bearer, startTestAuth, type TestAuth } from "./testing/start-test-auth.ts";

const run = promisify(execFile);
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

/** With the operator's own login, as `npm start` and administrators run it. */
async function command(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { stdout } = await run(process.execPath, [`services/auth/${name}.ts`, ...args, "--json"], {
    env: { PATH: process.env.PATH, DATABASE_URL: db.url("superuser"), ...env },
  });
  return JSON.parse(stdout);
}

test("the first admin comes from the command, once, and has the role in its tokens", async () => {
  const first = await command("create-admin", ["--username", "root admin"]);
  expect(first).toMatchObject({ created: true, username: "root admin", password: expect.any(String) });
  const { user, tokens } = await auth.auth.login({ username: "root admin", password: first.password });
  expect(user).toMatchObject({ userId: first.userId, isAdmin: true });
  const created = await auth.tokens.createServiceClient(
    { name: "gateway", scopes: ["quota.read"] },
    bearer(tokens?.accessToken),
  );
  expect(created.serviceClient).toMatchObject({ name: "gateway", scopes: ["quota.read"] });
  const again = await command("create-admin", ["--username", "ROOT admin"]);
  expect(again).toEqual({ userId: first.userId, username: "root admin", created: false });
});

test("a password that the command makes is as long as the policy wants it", async () => {
  const made = await command("create-admin", ["--username", "careful"], { PASSWORD_MIN_LENGTH: "64" });
  expect(made.password.length).toBeGreaterThanOrEqual(64);
  await auth.auth.login({ username: "careful", password: made.password });
});

test("an admin who is there stays so whatever the policy wants of new passwords", async () => {
  const admin = { ADMIN_PASSWORD: "a fairly long phrase of mine" };
  const first = await command("create-admin", ["--username", "settled"], admin);
  const again = await command("create-admin", ["--username", "settled"], { ...admin, PASSWORD_MIN_LENGTH: "40" });
  expect(again).toEqual({ userId: first.userId, username: "settled", created: false });
});

test("a stranger who took the name first is not made an admin", async () => {
  await auth.auth.register({ username: "admin", password: "a long and unusual phrase" });
  await expect(command("create-admin", ["--username", "admin"])).rejects.toThrow("belongs to a user who is no admin");
  await expect(command("create-admin", ["--username", "somebody"], { ADMIN_PASSWORD: "password1234" })).rejects.toThrow(
    "password is a common password",
  );
});

test("a service client gets tokens for its secret; the command can be repeated at each start", async () => {
  const wish = ["--name", "uploads", "--scopes", "chunks.write,chunks.read", "--client-id", "uploads"];
  const first = await command("create-service-client", wish);
  const issued = await auth.tokens.issueServiceToken({ clientId: "uploads", clientSecret: first.clientSecret });
  expect(issued.accessToken.split(".")).toHaveLength(3);
  expect(await command("create-service-client", wish)).toMatchObject({ result: "unchanged" });

  const root = await newAdmin(auth, await db.pool("auth"), "reader");
  const wider = [...wish.slice(0, 3), "chunks.write,chunks.read,nodes.read", ...wish.slice(4)];
  expect(await command("create-service-client", wider)).toMatchObject({ result: "updated" });
  const { auditEvents } = await auth.admin.listAuditEvents({ actorId: "cli", pageSize: 1 }, root.headers);
  expect(auditEvents).toMatchObject([{ reason: "scopes are now chunks.write chunks.read nodes.read" }]);
  expect(await command("create-service-client", wish)).toMatchObject({ result: "updated" });

  const secret = "s".repeat(32);
  expect(await command("create-service-client", wish, { CLIENT_SECRET: secret })).toMatchObject({ result: "updated" });
  await auth.tokens.issueServiceToken({ clientId: "uploads", clientSecret: secret });
  await auth.tokens.issueServiceToken({ clientId: "uploads", clientSecret: first.clientSecret });
  expect(await reasonOf(auth.tokens.issueServiceToken({ clientId: "uploads", clientSecret: "no" }))).toBe(
    "INVALID_CREDENTIALS",
  );
  expect(await reasonOf(auth.tokens.issueServiceToken({ clientId: "nobody\0", clientSecret: secret }))).toBe(
    "INVALID_CREDENTIALS",
  );
});
