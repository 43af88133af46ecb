import { loadConfig } from "#platform/config/load-config.ts";
import { serviceConfigShape } from "#platform/config/service-config.ts";
import { duration, integer } from "#platform/config/types.ts";

const {
  KEY_ENCRYPTION_KEY: _key,
  KEY_ENCRYPTION_KEY_PREVIOUS: _previous,
  USER_QUOTA_URL: _own,
  ...common
} = serviceConfigShape("user-quota");

export const configShape = {
  ...common,
  /** The limit of new accounts, in bytes: 10 GiB. Accounts that are there keep theirs. */
  DEFAULT_STORAGE_QUOTA_BYTES: integer({ min: 0 }).default(10_737_418_240),
  /** Pause between two looks for overdue reservations. Only hygiene: expiry itself needs no sweeper. */
  RESERVATION_SWEEP_INTERVAL: duration({ min: 100 }).default(30_000),
  /** How long ended reservations, and with them their idempotency keys, are remembered: 30 days. */
  RESERVATION_RETENTION: duration({ min: 86_400_000 }).default(2_592_000_000),
  /** Pause between two samples of the reconciler; 0 switches it off. */
  RECONCILE_INTERVAL: duration().default(60_000),
  /** Accounts per sample. */
  RECONCILE_SAMPLE_SIZE: integer({ min: 1, max: 1_000 }).default(20),
};

export type UserQuotaConfig = ReturnType<typeof loadUserQuotaConfig>;

export function loadUserQuotaConfig(env?: NodeJS.ProcessEnv) {
  return loadConfig(configShape, env);
}
