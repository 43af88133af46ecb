import { loadCommonPasswords } from "./accounts/common-passwords.ts";
import { createHashPace } from "./accounts/failure-time.ts";
import { createHashPermits } from "./accounts/hash-permits.ts";
import { createPasswordHasher } from "./accounts/password-hash.ts";
import { type AuthConfig, argon2Parameters, minPasswordLength } from "./config.ts";
import type { Deps } from "./deps.ts";
import { KEY_SET_MAX_AGE_SECONDS } from "./keys/key-set.ts";
import { openKeyring, openSecret } from "./keys/keyring.worker.ts";
import type { RotationRules } from "./keys/rotation.ts";
import { createSealingKey } from "./keys/sealing.ts";
import { createRefreshTokens } from "./sessions/refresh-token.ts";
import { createThrottleKeys } from "./throttle/throttle-keys.ts";
import { createTurns } from "./throttle/turns.ts";

/** What the handlers need, from the configuration and from the keys in the database. */
export async function createDeps(
  config: AuthConfig,
  given: Pick<Deps, "pool" | "outbox" | "clock" | "log" | "metrics" | "revocations">,
): Promise<Deps> {
  const sealing = createSealingKey(config.KEY_ENCRYPTION_KEY.reveal(), config.KEY_ENCRYPTION_KEY_PREVIOUS?.reveal());
  const keyDeps = { pool: given.pool, clock: given.clock, sealing };
  const waited = given.metrics.histogram({
    name: "auth_hash_wait_seconds",
    help: "How long work that hashes a password waited for its permit.",
  });
  const hashed = given.metrics.histogram({
    name: "auth_hash_seconds",
    help: "How long hashing held its permit; its sum by HASH_CONCURRENCY is how busy hashing is.",
  });
  const hashPace = createHashPace(given.clock);
  const permits = createHashPermits({
    permits: config.HASH_CONCURRENCY,
    maxWaiting: config.HASH_QUEUE_LIMIT,
    deadlineMs: config.HASH_QUEUE_DEADLINE,
    clock: given.clock,
    onWaited: (seconds) => waited.observe(seconds),
    onHashed: (seconds) => {
      hashed.observe(seconds);
      hashPace.hashed(seconds * 1_000);
    },
  });
  given.metrics.gauge({ name: "auth_hash_queue", help: "Work that waits for a hashing permit." }, (gauge) =>
    gauge.set(permits.state().waiting),
  );
  return {
    ...given,
    issuer: config.AUTH_ISSUER,
    sealing,
    rotationRules: rotationRules(config),
    keyring: await openKeyring(keyDeps, rotationRules(config)),
    refreshTokens: createRefreshTokens(await openSecret(keyDeps, "refresh-tokens")),
    throttleKeys: createThrottleKeys(await openSecret(keyDeps, "throttle-keys")),
    sessionRules: {
      idleMs: config.SESSION_IDLE_TTL,
      absoluteMs: config.SESSION_ABSOLUTE_TTL,
      replayMs: config.REFRESH_REPLAY_WINDOW,
    },
    hasher: await createPasswordHasher(argon2Parameters(config)),
    permits,
    hashPace,
    passwordPolicy: { minLength: minPasswordLength(config), common: loadCommonPasswords() },
    serviceTokenTurns: createTurns(4, { clock: given.clock, maxWaiting: 1_000, deadlineMs: 5_000 }),
    failureStepMs: config.LOGIN_FAILURE_STEP,
    hashDeadlineMs: config.HASH_QUEUE_DEADLINE,
  };
}

/** Verifiers cache the key set for 5 minutes; a replica signs with a key for 30 s after another retired it. */
export function rotationRules(config: { readonly SIGNING_KEY_ROTATION_INTERVAL: number }): RotationRules {
  return {
    intervalMs: config.SIGNING_KEY_ROTATION_INTERVAL,
    publishMs: 2 * KEY_SET_MAX_AGE_SECONDS * 1_000,
    retireMs: 30 * 60_000,
  };
}
