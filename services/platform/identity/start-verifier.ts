import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "#platform/nats/connect.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Clock } from "#platform/time/clock.ts";
import { startRevocationFeed } from "./revocation-feed.worker.ts";
import { createRevocations } from "./revocations.ts";
import { createTokenVerifier, type TokenVerifier } from "./token-verifier.ts";

/** The verifier of a service other than auth: keys from auth's key set, revocations from the USERS stream. */
export async function startVerifier(options: {
  readonly authUrl: string;
  readonly issuer: string;
  readonly nats: Nats;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly signal: AbortSignal;
}): Promise<TokenVerifier & AsyncDisposable> {
  const { authUrl, issuer, clock, log } = options;
  const revocations = createRevocations(clock);
  const feed = await startRevocationFeed({ ...options, revocations });
  const { isRevoked } = revocations;
  const jwks = `${authUrl}/.well-known/jwks.json`;
  const verifier = createTokenVerifier({ jwks, issuer, clock, log, isRevoked });
  return { ...verifier, [Symbol.asyncDispose]: () => feed[Symbol.asyncDispose]() };
}
