import { once } from "node:events";
import { createServer } from "node:http";
import { exportJWK, generateKeyPair, generateSecret, type JWK, SignJWT } from "jose";
import { describe, expect, test } from "vitest";
import { createLogger } from "#platform/log/logger.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createTestIssuer, TEST_ISSUER } from "#platform/testing/test-issuer.ts";
import { createTokenVerifier, TOKEN_AUDIENCE, TOKEN_TYPE } from "./token-verifier.ts";

const log = createLogger("test", "silent");
const sub = "0197f3e0-0000-7000-8000-000000000001";

describe("claims", () => {
  test("a user, an admin and a service are told apart", async () => {
    const { verifier, token } = await createTestIssuer();
    const caller = async (claims: Record<string, unknown>) => verifier.verify(await token(claims));
    expect(await caller({ sub, sid: "s", roles: ["user"] })).toEqual({
      kind: "user",
      userId: sub,
      sessionId: "s",
      isAdmin: false,
    });
    expect(await caller({ sub, sid: "s", roles: ["user", "admin"] })).toMatchObject({ isAdmin: true });
    expect(await caller({ sub: "gateway", roles: ["service"], scope: "quota.read chunks.read" })).toEqual({
      kind: "service",
      clientId: "gateway",
      scopes: new Set(["quota.read", "chunks.read"]),
    });
  });

  const nowS = Math.floor(Date.now() / 1_000);
  test.each<[string, Record<string, unknown>, Record<string, string>]>([
    ["has expired", { exp: nowS - 60 }, {}],
    ["is issued in the future", { iat: nowS + 60 }, {}],
    ["has another issuer", { iss: "somebody" }, {}],
    ["is for another audience", { aud: "somebody" }, {}],
    ["has no subject", { sub: undefined }, {}],
    ["never expires", { exp: undefined }, {}],
    ["has no role", { roles: [] }, {}],
    ["has an unknown role", { roles: ["root"] }, {}],
    ["is of a user and a service at once", { roles: ["user", "service"] }, {}],
    ["is only of an admin", { roles: ["admin"] }, {}],
    ["is of another type", {}, { typ: "JWT" }],
    ["is signed by an unknown key", {}, { kid: "unknown" }],
  ])("a token that %s is TOKEN_INVALID", async (_name, claims, header) => {
    const { verifier, token } = await createTestIssuer();
    await expect(verifier.verify(await token({ sub, ...claims }, header))).rejects.toMatchObject({
      reason: "TOKEN_INVALID",
    });
  });

  test("a token may be a few seconds off, and no more", async () => {
    const clock = new ManualClock();
    const { verifier, token } = await createTestIssuer(clock);
    const good = await token({ sub });
    await verifier.verify(good);
    await clock.advance(303_000);
    await verifier.verify(good);
    await clock.advance(3_000);
    await expect(verifier.verify(good)).rejects.toThrow("expired");
  });
});

describe("forgeries", () => {
  test.each(["", "x", "a.b", "a.b.c", `${"a".repeat(5_000)}.b.c`, "a.b.c.d", "é.é.é"])(
    "%j is no token",
    async (token) => {
      const { verifier } = await createTestIssuer();
      await expect(verifier.verify(token)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
    },
  );

  test("a signature by the public key as a shared secret, or none at all, is refused", async () => {
    const { verifier, jwks } = await createTestIssuer();
    const kid = jwks[0]?.kid ?? "";
    const claims = { sub, iss: TEST_ISSUER, aud: TOKEN_AUDIENCE, iat: 1, exp: 9_999_999_999, roles: ["user"] };
    const secret = await generateSecret("HS256");
    const hmac = await new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: TOKEN_TYPE, kid }).sign(secret);
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const unsigned = `${part({ alg: "none", typ: TOKEN_TYPE, kid })}.${part(claims)}.AA`;
    for (const token of [hmac, unsigned]) {
      await expect(verifier.verify(token)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
    }
  });

  test("a changed payload is refused, also after the real token was remembered", async () => {
    const { verifier, token } = await createTestIssuer();
    const good = await token({ sub });
    await verifier.verify(good);
    const [head, , signature] = good.split(".");
    const other = (await token({ sub, roles: ["user", "admin"] })).split(".")[1];
    await expect(verifier.verify(`${head}.${other}.${signature}`)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
  });
});

test("a revoked token is refused although its signature was checked before", async () => {
  const clock = new ManualClock();
  const issuer = await createTestIssuer(clock);
  const revoked = new Set<string>();
  const verifier = createTokenVerifier({
    jwks: () => issuer.jwks,
    issuer: TEST_ISSUER,
    clock,
    log,
    isRevoked: ({ sid }) => revoked.has(sid),
  });
  const token = await issuer.token({ sub, sid: "s1" });
  await verifier.verify(token);
  revoked.add("s1");
  await expect(verifier.verify(token)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
});

describe("the key set", () => {
  async function startKeyServer() {
    let keys: JWK[] = [];
    let isUp = true;
    let requests = 0;
    const server = createServer((_request, response) => {
      requests++;
      response.writeHead(isUp ? 200 : 500).end(JSON.stringify({ keys }));
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no TCP address");
    return {
      url: `http://127.0.0.1:${address.port}/`,
      requests: () => requests,
      set: (next: { keys?: JWK[]; isUp?: boolean }) => {
        keys = next.keys ?? keys;
        isUp = next.isUp ?? isUp;
      },
      [Symbol.dispose]: () => server.close(),
    };
  }

  async function createKey(kid: string, clock: ManualClock) {
    const { publicKey, privateKey } = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
    const nowS = Math.floor(clock.now().epochMilliseconds / 1_000);
    const claims = {
      sub,
      sid: "",
      roles: ["user"],
      iss: TEST_ISSUER,
      aud: TOKEN_AUDIENCE,
      iat: nowS,
      exp: nowS + 36_000,
    };
    const token = await new SignJWT(claims).setProtectedHeader({ alg: "EdDSA", typ: TOKEN_TYPE, kid }).sign(privateKey);
    return { jwk: { ...(await exportJWK(publicKey)), kid }, token };
  }

  test("is read at first use, once for many calls, and again at once for a new key", async () => {
    using server = await startKeyServer();
    const clock = new ManualClock();
    const [first, second] = await Promise.all([createKey("1", clock), createKey("2", clock)]);
    server.set({ keys: [first.jwk] });
    const verifier = createTokenVerifier({ jwks: server.url, issuer: TEST_ISSUER, clock, log });
    await Promise.all(Array.from({ length: 20 }, () => verifier.verify(first.token)));
    expect(server.requests()).toBe(1);
    server.set({ keys: [first.jwk, second.jwk] });
    await clock.advance(11_000);
    await verifier.verify(second.token);
    expect(server.requests()).toBe(2);
  });

  test("is not asked for again and again by tokens with random kids", async () => {
    using server = await startKeyServer();
    const clock = new ManualClock();
    const known = await createKey("1", clock);
    server.set({ keys: [known.jwk] });
    const verifier = createTokenVerifier({ jwks: server.url, issuer: TEST_ISSUER, clock, log });
    for (let i = 0; i < 20; i++) {
      const { token } = await createKey(`random-${i}`, clock);
      await expect(verifier.verify(token)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
    }
    expect(server.requests()).toBe(1);
  });

  test("keeps its good keys while the issuer is away, and is UNAVAILABLE where it knows none", async () => {
    using server = await startKeyServer();
    const clock = new ManualClock();
    const [known, unknown] = await Promise.all([createKey("1", clock), createKey("2", clock)]);
    server.set({ keys: [known.jwk], isUp: false });
    const verifier = createTokenVerifier({ jwks: server.url, issuer: TEST_ISSUER, clock, log });
    await expect(verifier.verify(known.token)).rejects.toMatchObject({ reason: "DEPENDENCY_UNAVAILABLE" });
    server.set({ isUp: true });
    await clock.advance(1_001);
    await verifier.verify(known.token);
    server.set({ isUp: false });
    await clock.advance(3_600_000);
    await verifier.verify(known.token);
    await clock.advance(11_000);
    await expect(verifier.verify(unknown.token)).rejects.toMatchObject({ reason: "DEPENDENCY_UNAVAILABLE" });
    await verifier.verify(known.token);
  });

  test("keeps its good keys when the issuer answers with none, and learns new ones beside a broken one", async () => {
    using server = await startKeyServer();
    const clock = new ManualClock();
    const [known, next] = await Promise.all([createKey("1", clock), createKey("2", clock)]);
    server.set({ keys: [known.jwk] });
    const verifier = createTokenVerifier({ jwks: server.url, issuer: TEST_ISSUER, clock, log });
    await verifier.verify(known.token);
    server.set({ keys: [] });
    await clock.advance(11_000);
    await expect(verifier.verify(next.token)).rejects.toMatchObject({ reason: "DEPENDENCY_UNAVAILABLE" });
    await verifier.verify(known.token);
    server.set({ keys: [{ ...known.jwk, kid: "broken", x: "AA" }, known.jwk, next.jwk] });
    await clock.advance(11_000);
    await verifier.verify(next.token);
    await verifier.verify(known.token);
  });

  test("forgets a key that the issuer has withdrawn, and what was verified with it", async () => {
    using server = await startKeyServer();
    const clock = new ManualClock();
    const [old, next] = await Promise.all([createKey("1", clock), createKey("2", clock)]);
    server.set({ keys: [old.jwk] });
    const verifier = createTokenVerifier({ jwks: server.url, issuer: TEST_ISSUER, clock, log });
    await verifier.verify(old.token);
    server.set({ keys: [next.jwk] });
    await clock.advance(11_000);
    await verifier.verify(next.token);
    await expect(verifier.verify(old.token)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
  });
});
