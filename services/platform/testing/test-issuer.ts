import { randomUUID } from "node:crypto";
import { exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";
import {
  createTokenVerifier,
  TOKEN_ALGORITHM,
  TOKEN_AUDIENCE,
  TOKEN_TYPE,
  type TokenVerifier,
} from "#platform/identity/token-verifier.ts";
import { createLogger } from "#platform/log/logger.ts";
import { type Clock, systemClock } from "#platform/time/clock.ts";

export const TEST_ISSUER = "decentrastore-test";

/** Issues access tokens as auth does, for tests of services that only verify them. */
export interface TestIssuer {
  readonly jwks: readonly JWK[];
  readonly verifier: TokenVerifier;
  /** An `Authorization` value. */
  user(userId: string, options?: { isAdmin?: boolean; sessionId?: string }): Promise<string>;
  /** From now on the user's tokens are refused. */
  revoke(userId: string): void;
  service(clientId: string, scopes: readonly string[]): Promise<string>;
  /** A token with claims and header fields that replace the good ones; undefined takes one out. */
  token(claims: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, string>>): Promise<string>;
}

export async function createTestIssuer(clock: Clock = systemClock): Promise<TestIssuer> {
  const { publicKey, privateKey } = await generateKeyPair(TOKEN_ALGORITHM, { crv: "Ed25519", extractable: true });
  const kid = randomUUID();
  const jwks = [{ ...(await exportJWK(publicKey)), kid, alg: TOKEN_ALGORITHM, use: "sig" }];
  const log = createLogger("test-issuer", "silent");
  const revoked = new Set<string>();
  const isRevoked = ({ sub }: { readonly sub: string }) => revoked.has(sub);
  const verifier = createTokenVerifier({ jwks: () => jwks, issuer: TEST_ISSUER, clock, log, isRevoked });
  const token: TestIssuer["token"] = (claims, header = {}) => {
    const nowS = Math.floor(clock.now().epochMilliseconds / 1_000);
    const good = { iss: TEST_ISSUER, aud: TOKEN_AUDIENCE, iat: nowS, exp: nowS + 300, roles: ["user"], scope: "" };
    return new SignJWT({ ...good, ...claims })
      .setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: TOKEN_TYPE, kid, ...header })
      .sign(privateKey);
  };
  return {
    jwks,
    verifier,
    token,
    revoke: (userId) => void revoked.add(userId),
    user: async (userId, { isAdmin = false, sessionId = randomUUID() } = {}) => {
      const roles = isAdmin ? ["user", "admin"] : ["user"];
      return `Bearer ${await token({ sub: userId, sid: sessionId, roles })}`;
    },
    service: async (clientId, scopes) =>
      `Bearer ${await token({ sub: clientId, roles: ["service"], scope: scopes.join(" ") })}`,
  };
}
