import { decodeJwt, errors, jwtVerify } from "jose";
import { z } from "zod";
import type { Logger } from "#platform/log/logger.ts";
import type { Caller } from "#platform/rpc/caller.ts";
import { unauthenticated } from "#platform/rpc/errors.ts";
import type { Clock } from "#platform/time/clock.ts";
import { createKeySet, type KeySource } from "./key-set.ts";

export const TOKEN_AUDIENCE = "decentrastore";
export const TOKEN_TYPE = "at+jwt";
export const TOKEN_ALGORITHM = "EdDSA";

/** How far clocks may differ: a token is good so long after its end, and may be made so far in the future. */
export const TOKEN_LEEWAY_S = 5;

// Ours have about 400 bytes; whatever is larger is not worth a signature check.
const MAX_TOKEN_LENGTH = 4_096;
const CACHE_SIZE = 10_000;
const TOKEN_SHAPE = /^[\w-]+\.[\w-]+\.[\w-]+$/;

const claimsSchema = z.object({
  sub: z.string().min(1).max(200),
  sid: z.string().max(200).default(""),
  roles: z.array(z.enum(["user", "admin", "service"])).min(1),
  scope: z.string().default(""),
  iat: z.number(),
  exp: z.number(),
});

/** What a verified access token says. Instants are in seconds. */
export type TokenClaims = z.output<typeof claimsSchema>;

export interface TokenVerifier {
  /**
   * The caller whom the token names. Throws UNAUTHENTICATED / TOKEN_INVALID, or UNAVAILABLE while no key of the issuer
   * is known and it does not answer.
   */
  verify(token: string): Promise<Caller>;
  /** Whether a token that `verify` has taken was revoked, now or since. Its end is not looked at. */
  isRevoked(token: string): boolean;
}

export interface TokenVerifierOptions {
  /** The key set's URL (`<AUTH_URL>/.well-known/jwks.json`), or in auth itself its own public keys. */
  readonly jwks: KeySource;
  readonly issuer: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Asked for every call, also where the token's signature was checked before: it must be fast. */
  readonly isRevoked?: (claims: TokenClaims) => boolean;
}

interface Verified {
  readonly caller: Caller;
  readonly claims: TokenClaims;
  readonly epoch: number;
}

/** Checks access tokens offline. A token that passed is remembered until it expires, its key goes away, or it is revoked. */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const { clock } = options;
  const keys = createKeySet(options.jwks, options);
  const remembered = new Map<string, Verified>();

  const remember = (token: string, verified: Verified) => {
    if (remembered.size >= CACHE_SIZE) {
      // The oldest goes; a token that is still in use comes back with one signature check.
      const [oldest] = remembered.keys();
      if (oldest !== undefined) remembered.delete(oldest);
    }
    remembered.set(token, verified);
  };

  const check = async (token: string): Promise<Verified> => {
    const { epoch } = keys;
    const claims = await verifySignature(token, keys.find, options);
    const caller = callerOfClaims(claims);
    if (caller === undefined) throw unauthenticated("TOKEN_INVALID", "the access token's roles do not fit together");
    const verified = { caller, claims, epoch };
    remember(token, verified);
    return verified;
  };

  return {
    verify: async (token) => {
      if (token.length > MAX_TOKEN_LENGTH || !TOKEN_SHAPE.test(token)) {
        throw unauthenticated("TOKEN_INVALID", "the access token is not a JWT");
      }
      const known = remembered.get(token);
      const verified = known !== undefined && known.epoch === keys.epoch ? known : await check(token);
      const nowS = clock.now().epochMilliseconds / 1_000;
      // Also of a token that was good before: the clock may have gone back since.
      if (verified.claims.iat > nowS + TOKEN_LEEWAY_S) {
        throw unauthenticated("TOKEN_INVALID", "the access token was issued in the future");
      }
      if (verified.claims.exp + TOKEN_LEEWAY_S <= nowS) {
        remembered.delete(token);
        throw unauthenticated("TOKEN_INVALID", "the access token has expired");
      }
      if (options.isRevoked?.(verified.claims) ?? false) {
        throw unauthenticated("TOKEN_INVALID", "the access token has been revoked");
      }
      return verified.caller;
    },
    isRevoked: (token) => {
      const { claims = claimsSchema.parse(decodeJwt(token)) } = remembered.get(token) ?? {};
      return options.isRevoked?.(claims) ?? false;
    },
  };
}

async function verifySignature(
  token: string,
  findKey: (kid: string) => ReturnType<ReturnType<typeof createKeySet>["find"]>,
  options: TokenVerifierOptions,
): Promise<TokenClaims> {
  const now = options.clock.now();
  const getKey = async ({ kid }: { kid?: string }) => {
    const key = kid === undefined ? undefined : await findKey(kid);
    if (key === undefined) throw unauthenticated("TOKEN_INVALID", "the access token was signed by an unknown key");
    return key;
  };
  try {
    const { payload } = await jwtVerify(token, getKey, {
      algorithms: [TOKEN_ALGORITHM],
      typ: TOKEN_TYPE,
      issuer: options.issuer,
      audience: TOKEN_AUDIENCE,
      clockTolerance: TOKEN_LEEWAY_S,
      currentDate: new Date(now.epochMilliseconds),
      requiredClaims: ["sub", "iat", "exp"],
    });
    const claims = claimsSchema.safeParse(payload);
    if (!claims.success) throw unauthenticated("TOKEN_INVALID", "the access token lacks a claim");
    return claims.data;
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw unauthenticated("TOKEN_INVALID", "the access token has expired");
    if (error instanceof errors.JOSEError) throw unauthenticated("TOKEN_INVALID", "the access token is not valid");
    throw error;
  }
}

function callerOfClaims(claims: TokenClaims): Caller | undefined {
  const isService = claims.roles.includes("service");
  const isUser = claims.roles.includes("user");
  if (isService === isUser) return undefined;
  if (isUser) {
    return { kind: "user", userId: claims.sub, sessionId: claims.sid, isAdmin: claims.roles.includes("admin") };
  }
  const scopes = new Set(claims.scope.split(" ").filter((scope) => scope !== ""));
  return { kind: "service", clientId: claims.sub, scopes };
}
