import { type CryptoKey, importJWK, type JWK } from "jose";
import { z } from "zod";
import type { Logger } from "#platform/log/logger.ts";
import { dependencyUnavailable } from "#platform/rpc/errors.ts";
import type { Clock } from "#platform/time/clock.ts";

/** Where the public keys come from: the URL of a JSON Web Key Set, or auth's own keys. */
export type KeySource = string | (() => Promise<readonly JWK[]> | readonly JWK[]);

export interface KeySet {
  /**
   * The key of that id, or undefined where the issuer has none. Throws UNAVAILABLE where it cannot be known, because
   * the issuer does not answer.
   */
  find(kid: string): Promise<CryptoKey | undefined>;
  /** Rises whenever a key went away: whatever was verified before has to be verified again. */
  readonly epoch: number;
}

const REFRESH_AFTER_MS = 300_000;
// An unknown kid makes one request at most per this time, or strangers with random kids could make us flood auth.
const COOLDOWN_MS = 10_000;
const FETCH_TIMEOUT_MS = 5_000;
const MAX_KEYS = 100;

const keySetSchema = z.object({
  keys: z.array(z.looseObject({ kid: z.string().min(1), kty: z.string() })).max(MAX_KEYS),
});

/**
 * A key set that is fetched on first use, refreshed in the background when old, and at once for a kid it does not know.
 * Keys that are known stay good while the issuer is away.
 */
export function createKeySet(source: KeySource, deps: { clock: Clock; log: Logger }): KeySet {
  const { clock, log } = deps;
  let keys: ReadonlyMap<string, CryptoKey> | undefined;
  let attemptedMs = Number.NEGATIVE_INFINITY;
  let isLastAttemptGood = false;
  let running: Promise<void> | undefined;
  let epoch = 0;

  async function refresh(): Promise<void> {
    attemptedMs = clock.monotonicMs();
    try {
      const fresh = await importKeys(await read(source), log);
      if (keys !== undefined && [...keys.keys()].some((kid) => !fresh.has(kid))) epoch++;
      keys = fresh;
      isLastAttemptGood = true;
    } catch (error) {
      isLastAttemptGood = false;
      log.warn({ err: error, known: keys?.size ?? 0 }, "the key set of the token issuer cannot be read");
    }
  }

  function refreshOnce(): Promise<void> {
    running ??= refresh().finally(() => {
      running = undefined;
    });
    return running;
  }

  return {
    get epoch() {
      return epoch;
    },
    find: async (kid) => {
      const ageMs = clock.monotonicMs() - attemptedMs;
      const known = keys?.get(kid);
      if (known !== undefined) {
        if (ageMs > REFRESH_AFTER_MS) void refreshOnce();
        return known;
      }
      if (running !== undefined || ageMs > COOLDOWN_MS || (keys === undefined && ageMs > COOLDOWN_MS / 10)) {
        await refreshOnce();
      }
      const found = keys?.get(kid);
      if (found === undefined && !isLastAttemptGood) {
        throw dependencyUnavailable("access tokens cannot be verified at the moment, try again");
      }
      return found;
    },
  };
}

async function read(source: KeySource): Promise<readonly JWK[]> {
  if (typeof source !== "string") return source();
  const response = await fetch(source, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS), redirect: "error" });
  if (!response.ok) throw new Error(`the key set was answered with HTTP ${response.status}`);
  return keySetSchema.parse(await response.json()).keys;
}

/** @throws where no key is of use: an issuer that has none has lost them, and has not withdrawn them. */
async function importKeys(jwks: readonly JWK[], log: Logger): Promise<ReadonlyMap<string, CryptoKey>> {
  const imported = new Map<string, CryptoKey>();
  for (const jwk of jwks) {
    // Other kinds may come one day; they verify nothing here.
    if (jwk.kty !== "OKP" || jwk.crv !== "Ed25519" || jwk.kid === undefined) continue;
    try {
      const key = await importJWK({ kty: jwk.kty, crv: jwk.crv, x: jwk.x ?? "" }, "EdDSA");
      if (!(key instanceof Uint8Array)) imported.set(jwk.kid, key);
    } catch (error) {
      log.warn({ err: error, kid: jwk.kid }, "a key of the token issuer is no Ed25519 key: nothing it signs is good");
    }
  }
  if (imported.size === 0) throw new Error("the key set has no Ed25519 key");
  return imported;
}
