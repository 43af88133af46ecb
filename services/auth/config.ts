import { availableParallelism } from "node:os";
import { loadConfig } from "#platform/config/load-config.ts";
import { serviceConfigShape } from "#platform/config/service-config.ts";
import { choice, duration, integer } from "#platform/config/types.ts";

const {
  AUTH_URL: _own,
  USER_QUOTA_URL: _quota,
  NODE_REGISTRY_URL: _registry,
  SERVICE_CLIENT_ID: _id,
  SERVICE_CLIENT_SECRET: _secret,
  ...common
} = serviceConfigShape("auth");

/** What making and checking password hashes needs: the service and the commands. */
export const passwordConfigShape = {
  /** `strict` asks for 15 characters instead of 12 (NIST SP 800-63B-4 for passwords that stand alone). */
  PASSWORD_POLICY: choice(["standard", "strict"]).default("standard"),
  /** Overrides what the policy says. */
  PASSWORD_MIN_LENGTH: integer({ min: 8, max: 64 }).optional(),
  /** argon2id; the defaults are OWASP's and ASVS 5's. Hashes made with others are renewed at the next login. */
  ARGON2_MEMORY_KIB: integer({ min: 7_168, max: 131_072 }).default(19_456),
  ARGON2_PASSES: integer({ min: 1, max: 16 }).default(2),
  ARGON2_LANES: integer({ min: 1, max: 4 }).default(1),
};

export const configShape = {
  ...common,
  ...passwordConfigShape,
  /** Hashes at once. thread-pool.ts reads it too, to give libuv enough threads. */
  HASH_CONCURRENCY: integer({ min: 1, max: 256 }).default(Math.max(1, availableParallelism() - 1)),
  HASH_QUEUE_LIMIT: integer({ min: 1, max: 100_000 }).default(1_000),
  HASH_QUEUE_DEADLINE: duration({ min: 100, max: 25_000 }).default(10_000),
  /** Must be above the slowest admitted hash, see accounts/phc.ts. 0 switches it off, for load tests. */
  LOGIN_FAILURE_STEP: duration({ max: 10_000 }).default(400),
  SESSION_IDLE_TTL: duration({ min: 60_000 }).default(14 * 86_400_000),
  SESSION_ABSOLUTE_TTL: duration({ min: 60_000 }).default(30 * 86_400_000),
  REFRESH_REPLAY_WINDOW: duration({ max: 60_000 }).default(20_000),
  SIGNING_KEY_ROTATION_INTERVAL: duration({ min: 3_600_000 }).default(30 * 86_400_000),
};

export type AuthConfig = ReturnType<typeof loadAuthConfig>;

export function loadAuthConfig(env?: NodeJS.ProcessEnv) {
  return loadConfig(configShape, env);
}

export function minPasswordLength(config: Pick<AuthConfig, "PASSWORD_POLICY" | "PASSWORD_MIN_LENGTH">): number {
  return config.PASSWORD_MIN_LENGTH ?? (config.PASSWORD_POLICY === "strict" ? 15 : 12);
}

export function argon2Parameters(config: Pick<AuthConfig, "ARGON2_MEMORY_KIB" | "ARGON2_PASSES" | "ARGON2_LANES">) {
  return { memoryKib: config.ARGON2_MEMORY_KIB, passes: config.ARGON2_PASSES, lanes: config.ARGON2_LANES };
}
