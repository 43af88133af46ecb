import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import type { Secret } from "#platform/config/secret.ts";
import { dependencyUnavailable } from "#platform/rpc/errors.ts";
import { fromTimestamp } from "#platform/rpc/time.ts";
import { runDetached } from "#platform/rpc/trace.ts";
import type { Clock } from "#platform/time/clock.ts";

export interface ServiceTokenSource {
  /** A token that is good for some time yet. Throws UNAVAILABLE / DEPENDENCY_UNAVAILABLE where auth gives none. */
  token(): Promise<string>;
  /** Forgets a token that was refused although it had not expired (its key or client was revoked). */
  invalidate(token: string): void;
}

export interface ServiceTokenSourceOptions {
  readonly authUrl: string;
  readonly clientId: string;
  readonly clientSecret: string | Secret;
  readonly clock: Clock;
}

interface Held {
  readonly token: string;
  readonly issuedMs: number;
  readonly renewAtMs: number;
  readonly expiresAtMs: number;
}

const REQUEST_TIMEOUT_MS = 5_000;
const SAFETY_MS = 5_000;
const MIN_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 15_000;
const MIN_AGE_TO_INVALIDATE_MS = 10_000;

/**
 * This service's own access token. Renewed in the background after two thirds of its life, so that auth may be away for
 * minutes; one request at a time; after a failure the next attempt waits, doubling from 250 ms to 15 s.
 */
export function createServiceTokenSource(options: ServiceTokenSourceOptions): ServiceTokenSource {
  const { clock } = options;
  const secret = typeof options.clientSecret === "string" ? options.clientSecret : options.clientSecret.reveal();
  const auth = createClient(TokenService, createConnectTransport({ baseUrl: options.authUrl, httpVersion: "1.1" }));
  let held: Held | undefined;
  let running: Promise<Held> | undefined;
  let failures = 0;
  let notBeforeMs = 0;
  let lastError: unknown;

  async function request(): Promise<Held> {
    try {
      held = await issueToken(auth, { clientId: options.clientId, clientSecret: secret }, clock);
      failures = 0;
      return held;
    } catch (error) {
      const backoffMs = Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** failures);
      failures++;
      notBeforeMs = clock.monotonicMs() + backoffMs * (0.5 + Math.random() / 2);
      lastError = error;
      throw dependencyUnavailable("this service has no access token at the moment, try again", error);
    }
  }

  function requestOnce(): Promise<Held> {
    // Shared by many calls, so none of them lends it its deadline.
    running ??= runDetached(request).finally(() => {
      running = undefined;
    });
    return running;
  }

  return {
    token: async () => {
      const nowMs = clock.monotonicMs();
      const isUsable = held !== undefined && held.expiresAtMs - SAFETY_MS > nowMs;
      const mayAsk = running !== undefined || nowMs >= notBeforeMs;
      if (held !== undefined && isUsable) {
        // A failure is remembered by the backoff; the caller has a good token and must not see it.
        if (nowMs >= held.renewAtMs && mayAsk) requestOnce().catch(() => undefined);
        return held.token;
      }
      if (!mayAsk) throw dependencyUnavailable("this service has no access token at the moment, try again", lastError);
      return (await requestOnce()).token;
    },
    invalidate: (token) => {
      // A fresh token that is refused will not get better by asking for another one at every call.
      if (held?.token === token && clock.monotonicMs() - held.issuedMs > MIN_AGE_TO_INVALIDATE_MS) held = undefined;
    },
  };
}

async function issueToken(
  auth: Client<typeof TokenService>,
  credentials: { clientId: string; clientSecret: string },
  clock: Clock,
): Promise<Held> {
  const issuedMs = clock.monotonicMs();
  const answer = await auth.issueServiceToken(credentials, { timeoutMs: REQUEST_TIMEOUT_MS });
  if (answer.accessTokenExpiresAt === undefined) throw new Error("auth gave a token without an expiry");
  const lifeMs = fromTimestamp(answer.accessTokenExpiresAt).epochMilliseconds - clock.now().epochMilliseconds;
  return {
    token: answer.accessToken,
    issuedMs,
    renewAtMs: issuedMs + (lifeMs * 2) / 3,
    expiresAtMs: issuedMs + lifeMs,
  };
}
