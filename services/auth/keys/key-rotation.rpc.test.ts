import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { createTokenVerifier } from "#platform/identity/token-verifier.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql, zVoid } from "#platform/postgres/sql.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { systemClock } from "#platform/time/clock.ts";
import { bearer, startTestAuth, type TestAuth, testKeyEncryptionKey } from "../testing/start-test-auth.ts";

const run = promisify(execFile);
let db: TestDatabase;
let nats: TestNats;
let auth: TestAuth;
let pool: Pool;
const password = "a long and unusual phrase";

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startTestNats()]);
  pool = await db.pool("auth");
  auth = await start();
});

afterAll(async () => {
  await auth[Symbol.asyncDispose]();
  await Promise.all([db[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

function start(env: Readonly<Record<string, string>> = {}) {
  return startTestAuth({ databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") }, env);
}

async function rotate(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
  const { stdout } = await run(process.execPath, ["services/auth/rotate-keys.ts", "--json", ...args], {
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: db.url("superuser"),
      KEY_ENCRYPTION_KEY: testKeyEncryptionKey,
      ...env,
    },
  });
  return JSON.parse(stdout);
}

const states = () =>
  pool.any(sql.type(z.strictObject({ keyId: z.string(), state: z.string() }))`
    select key_id "keyId", state from auth.signing_keys order by state`);

test("a rotation is refused until verifiers know the next key; afterwards old and new tokens are good everywhere", async () => {
  await expect(rotate()).rejects.toThrow(/try again in \d+ s/);
  await pool.query(sql.type(zVoid)`update auth.signing_keys set created_at = created_at - interval '11 minutes'`);
  const before = await states();

  const { tokens: old } = await auth.auth.register({ username: "rotated", password });
  const verifier = createTokenVerifier({
    jwks: `${auth.url}/.well-known/jwks.json`,
    issuer: "decentrastore",
    clock: systemClock,
    log: createTestLogger(),
  });
  await verifier.verify(old?.accessToken ?? "");
  const refreshed = await auth.auth.refreshSession({ refreshToken: old?.refreshToken ?? "" });

  expect(await rotate()).toMatchObject({ promoted: true });
  const after = await states();
  const keyOf = (rows: typeof before, state: string) => rows.find((row) => row.state === state)?.keyId;
  expect(keyOf(after, "current")).toBe(keyOf(before, "next"));
  expect(keyOf(after, "previous")).toBe(keyOf(before, "current"));

  // A replica that starts now signs with the new key; the running one goes on with the old one for some seconds.
  await using replica = await start();
  const { tokens: fresh } = await replica.auth.login({ username: "rotated", password });
  expect(decodeProtectedHeader(fresh?.accessToken ?? "").kid).toBe(keyOf(after, "current"));
  expect(decodeProtectedHeader(old?.accessToken ?? "").kid).toBe(keyOf(after, "previous"));
  for (const token of [old, refreshed.tokens, fresh]) {
    await verifier.verify(token?.accessToken ?? "");
    for (const service of [auth, replica]) {
      expect((await service.auth.getCurrentUser({}, bearer(token?.accessToken))).user?.username).toBe("rotated");
    }
  }
  // The repeated answer is the same to the byte, though another key signs by now.
  expect(await replica.auth.refreshSession({ refreshToken: old?.refreshToken ?? "" })).toEqual(refreshed);
  const keySet = await fetch(`${replica.url}/.well-known/jwks.json`);
  expect(z.object({ keys: z.array(z.object({ kid: z.string() })) }).parse(await keySet.json()).keys).toHaveLength(3);
});

test("several replicas that start at once on an empty database agree on the keys", async () => {
  await using empty = await createTestDatabase();
  const urls = { databaseUrl: empty.url("auth_app"), natsUrl: nats.url("auth") };
  const replicas = await Promise.all([1, 2, 3].map(() => startTestAuth(urls)));
  const sets = await Promise.all(
    replicas.map(async (replica) => await (await fetch(`${replica.url}/.well-known/jwks.json`)).text()),
  );
  expect(new Set(sets).size).toBe(1);
  const { tokens } = (await replicas[0]?.auth.register({ username: "shared", password })) ?? {};
  for (const replica of replicas) {
    expect((await replica.auth.getCurrentUser({}, bearer(tokens?.accessToken))).user?.username).toBe("shared");
  }
  const refreshed = await replicas[1]?.auth.refreshSession({ refreshToken: tokens?.refreshToken ?? "" });
  expect(await replicas[2]?.auth.refreshSession({ refreshToken: tokens?.refreshToken ?? "" })).toEqual(refreshed);
  await Promise.all(replicas.map((replica) => replica[Symbol.asyncDispose]()));
});

test("the key encryption key can be replaced without anybody signing in again", async () => {
  const { tokens } = await auth.auth.register({ username: "resealed", password });
  const fresh = randomBytes(32).toString("base64");
  const both = { KEY_ENCRYPTION_KEY: fresh, KEY_ENCRYPTION_KEY_PREVIOUS: testKeyEncryptionKey };
  expect((await rotate(["--reseal-only"], both)).resealed).toBeGreaterThanOrEqual(4);
  await expect(start()).rejects.toThrow("no key encryption key fits");
  await using replica = await start({ KEY_ENCRYPTION_KEY: fresh });
  expect((await replica.auth.getCurrentUser({}, bearer(tokens?.accessToken))).user?.username).toBe("resealed");
  expect((await replica.auth.refreshSession({ refreshToken: tokens?.refreshToken ?? "" })).tokens).toBeDefined();
  // Whoever reads the tables finds no key in them.
  const stored = await pool.anyFirst(sql.type(z.strictObject({ bytes: z.instanceof(Buffer) }))`
    select private_key_sealed bytes from auth.signing_keys union all select secret_sealed from auth.secrets`);
  expect(stored.every((sealed) => sealed.length === 1 + 4 + 12 + 32 + 16)).toBe(true);
});
