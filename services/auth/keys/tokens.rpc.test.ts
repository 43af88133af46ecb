import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { reasonOf } from "../testing/refusals.ts";
import { bearer, startTestAuth, type TestAuth, testKeyEncryptionKey } from "../testing/start-test-auth.ts";
import { createSealingKey } from "./sealing.ts";
import { signingKeyPurpose } from "./signing-key.ts";

let db: TestDatabase;
let nats: TestNats;
let auth: TestAuth;
let pool: Pool;
let good: { token: string; header: Record<string, unknown>; claims: Record<string, unknown>; publicKey: Buffer };
let realKey: KeyObject;

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startTestNats()]);
  auth = await startTestAuth({ databaseUrl: db.url("auth_app"), natsUrl: nats.url("auth") });
  pool = await db.pool("auth");
  const { tokens } = await auth.auth.register({ username: "victim", password: "a long and unusual phrase" });
  const token = tokens?.accessToken ?? "";
  // The attacker of these tests is generous to himself: he even has the signing key, for claims that are wrong.
  const row = await pool.one(sql.type(
    z.strictObject({ id: z.string(), sealed: z.instanceof(Buffer), x: z.instanceof(Buffer) }),
  )`
    select key_id id, private_key_sealed sealed, public_key x from auth.signing_keys where state = 'current'`);
  const d = createSealingKey(Buffer.from(testKeyEncryptionKey, "base64")).open(row.sealed, signingKeyPurpose(row.id));
  const jwk = { kty: "OKP", crv: "Ed25519", x: row.x.toString("base64url"), d: d.toString("base64url") };
  realKey = createPrivateKey({ key: jwk, format: "jwk" });
  good = { token, header: { ...decodeProtectedHeader(token) }, claims: { ...decodeJwt(token) }, publicKey: row.x };
});

afterAll(async () => {
  await auth[Symbol.asyncDispose]();
  await Promise.all([db[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
const refusalFor = (token: string) => reasonOf(auth.auth.getCurrentUser({}, bearer(token)));

function signed(header: object, claims: object, key = realKey): string {
  const input = `${encode({ ...good.header, ...header })}.${encode({ ...good.claims, ...claims })}`;
  return `${input}.${sign(null, Buffer.from(input), key).toString("base64url")}`;
}

test("the attacker's own way of signing gives good tokens where nothing is wrong with them", async () => {
  expect((await auth.auth.getCurrentUser({}, bearer(signed({}, {})))).user?.username).toBe("victim");
  expect((await auth.auth.getCurrentUser({}, bearer(good.token))).user?.username).toBe("victim");
});

test("tokens without a signature, or signed with the public key as a secret, are refused", async () => {
  const body = encode({ ...good.claims, roles: ["user", "admin"] });
  for (const alg of ["none", "None", "NONE", ""]) {
    const header = encode({ ...good.header, alg });
    expect(await refusalFor(`${header}.${body}.`)).toBe("TOKEN_INVALID");
    expect(await refusalFor(`${header}.${body}.${good.token.split(".")[2]}`)).toBe("TOKEN_INVALID");
  }
  const keySet = await (await fetch(`${auth.url}/.well-known/jwks.json`)).text();
  for (const secret of [good.publicKey, good.publicKey.toString("base64url"), good.publicKey.toString("hex"), keySet]) {
    const input = `${encode({ ...good.header, alg: "HS256" })}.${body}`;
    const mac = createHmac("sha256", secret).update(input).digest("base64url");
    expect(await refusalFor(`${input}.${mac}`)).toBe("TOKEN_INVALID");
  }
});

test("foreign keys, issuers, audiences and types are refused", async () => {
  const foreign = generateKeyPairSync("ed25519").privateKey;
  expect(await refusalFor(signed({}, {}, foreign))).toBe("TOKEN_INVALID");
  const jwk = foreign.export({ format: "jwk" });
  for (const header of [
    { kid: "unknown" },
    { kid: undefined },
    { kid: "../../etc/passwd\0' or 1=1 --" },
    { jwk: { ...jwk, d: undefined } },
    { jku: "https://attacker.example/jwks.json", kid: "attacker" },
    { x5u: "https://attacker.example/cert.pem", kid: "attacker" },
  ]) {
    expect(await refusalFor(signed(header, {}, foreign))).toBe("TOKEN_INVALID");
  }
  for (const typ of ["JWT", "jwt", "at+JWTx", undefined, "id+jwt"]) {
    expect(await refusalFor(signed({ typ }, {}))).toBe("TOKEN_INVALID");
  }
  for (const claims of [
    { iss: "https://attacker.example" },
    { iss: undefined },
    { aud: "another" },
    { aud: undefined },
    { roles: ["root"] },
    { roles: ["user", "service"] },
    { roles: [] },
    { roles: undefined },
    { sub: undefined },
    { sub: "" },
  ]) {
    expect([claims, await refusalFor(signed({}, claims))]).toEqual([claims, "TOKEN_INVALID"]);
  }
  expect(await refusalFor(signed({ crit: ["exp"] }, {}))).toBe("TOKEN_INVALID");
});

test("expired tokens and tokens from the future are refused", async () => {
  const now = Math.floor(Date.now() / 1_000);
  for (const claims of [
    { exp: now - 6 },
    { exp: now - 86_400 },
    { exp: undefined },
    { iat: now + 60 },
    { iat: undefined },
    { nbf: now + 60 },
    { exp: "9999999999" },
  ]) {
    expect([claims, await refusalFor(signed({}, claims))]).toEqual([claims, "TOKEN_INVALID"]);
  }
});

test("every cut, every flipped bit of the signature, and sizes beyond reason are refused", async () => {
  const { token } = good;
  const signatureAt = token.lastIndexOf(".") + 1;
  const bad = [
    ...Array.from({ length: 20 }, (_, n) => token.slice(0, Math.floor((token.length * n) / 20))),
    ...Array.from({ length: 40 }, (_, n) => {
      const at = signatureAt + n * 2;
      return `${token.slice(0, at)}${token[at] === "A" ? "B" : "A"}${token.slice(at + 1)}`;
    }),
    signed({}, { padding: "x".repeat(10_000) }),
    `${token}.${token}`,
    ".".repeat(1_000),
  ].filter((candidate) => candidate !== "");
  const reasons = await Promise.all(bad.map((candidate) => refusalFor(candidate)));
  expect(new Set(reasons)).toEqual(new Set(["TOKEN_INVALID"]));
  expect(await reasonOf(auth.auth.getCurrentUser({}))).toBe("TOKEN_MISSING");
  expect(await reasonOf(auth.auth.getCurrentUser({}, { headers: { authorization: "Basic eDp5" } }))).toBe(
    "TOKEN_INVALID",
  );
});

test("a refresh token is no access token, nor the other way round", async () => {
  const { tokens } = await auth.auth.login({ username: "victim", password: "a long and unusual phrase" });
  expect(await refusalFor(tokens?.refreshToken ?? "")).toBe("TOKEN_INVALID");
  expect(await reasonOf(auth.auth.refreshSession({ refreshToken: tokens?.accessToken ?? "" }))).toBe(
    "REFRESH_TOKEN_INVALID",
  );
});
