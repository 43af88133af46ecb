import type { Revocations } from "#platform/identity/revocations.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Outbox } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { HashPace } from "./accounts/failure-time.ts";
import type { HashPermits } from "./accounts/hash-permits.ts";
import type { PasswordHasher } from "./accounts/password-hash.ts";
import type { PasswordPolicy } from "./accounts/password-policy.ts";
import type { RotationRules } from "./keys/rotation.ts";
import type { SealingKey } from "./keys/sealing.ts";
import type { Keyring } from "./keys/signing-key.ts";
import type { RefreshTokens } from "./sessions/refresh-token.ts";
import type { SessionRules } from "./sessions/session.ts";
import type { ThrottleKeys } from "./throttle/throttle-keys.ts";
import type { Turns } from "./throttle/turns.ts";

export interface Deps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly pool: Pool;
  readonly outbox: Outbox;
  /** The `iss` of every token. */
  readonly issuer: string;
  /** Seals the private parts of keys with KEY_ENCRYPTION_KEY. */
  readonly sealing: SealingKey;
  readonly rotationRules: RotationRules;
  readonly keyring: Keyring;
  readonly refreshTokens: RefreshTokens;
  readonly sessionRules: SessionRules;
  /** Of this process's verifier: what was revoked here is refused here at once. */
  readonly revocations: Revocations;
  readonly hasher: PasswordHasher;
  readonly permits: HashPermits;
  readonly hashPace: HashPace;
  readonly passwordPolicy: PasswordPolicy;
  readonly throttleKeys: ThrottleKeys;
  /** For IssueServiceToken, which anybody may call. */
  readonly serviceTokenTurns: Turns;
  /** Failed logins are answered at multiples of it; 0 answers at once, for load tests. */
  readonly failureStepMs: number;
  /** How long a login waits for its turn before HASHING_BUSY. */
  readonly hashDeadlineMs: number;
}
