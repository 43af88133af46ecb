import { timingSafeEqual } from "node:crypto";
import { Code, type MethodImpl } from "@connectrpc/connect";
import type { IssueServiceTokenRequest, TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { overloaded } from "#platform/rpc/errors.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { authError } from "../errors.ts";
import { signServiceToken } from "../keys/access-token.ts";
import { clientInfoOf } from "../sessions/client-info.ts";
import { limitRate } from "../throttle/limit-rate.rpc.ts";
import { BusyError } from "../throttle/turns.ts";
import { clientSecretHash } from "./client-secret.ts";
import { findServiceClient, markClientUsed, type ServiceClientRow } from "./service-clients.store.ts";

const RATE = { burst: 100, intervalMs: 100 };

export function issueServiceToken(deps: Deps): MethodImpl<typeof TokenService.method.issueServiceToken> {
  return async (request, context) => {
    const { address } = clientInfoOf(context);
    const client = await inTurn(deps, () => authenticate(deps, request, address), context.signal);
    const signed = signServiceToken(deps.keyring.current(), {
      issuer: deps.issuer,
      clientId: client.clientId,
      scopes: client.scopes,
      issuedAt: deps.clock.now(),
    });
    return { accessToken: signed.token, accessTokenExpiresAt: toTimestamp(signed.expiresAt) };
  };
}

async function authenticate(deps: Deps, request: IssueServiceTokenRequest, address: string): Promise<ServiceClientRow> {
  await limitRate(deps, "IssueServiceToken", address, RATE);
  const { clientId, clientSecret } = request;
  // Ids of ours are plain; anything else may hold what a database cannot.
  const client = /^[\w-]{1,64}$/.test(clientId) ? await findServiceClient(deps.pool, clientId) : undefined;
  if (client !== undefined && client.revokedAt === null && isSecretOf(client, clientSecret)) {
    await markClientUsed(deps.pool, client.clientId, deps.clock.now());
    return client;
  }
  await recordAudit(deps.pool, deps.clock, {
    type: "ISSUE_SERVICE_TOKEN",
    refused: "INVALID_CREDENTIALS",
    clientId: client?.clientId ?? "",
    address,
  });
  throw authError(Code.Unauthenticated, "INVALID_CREDENTIALS", "the client_id or the client_secret is wrong");
}

/** Strangers may call this as often as they like: a flood of it waits here and leaves the database to the others. */
async function inTurn<T>(deps: Deps, work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await deps.serviceTokenTurns.take(work, signal);
  } catch (error) {
    if (error instanceof BusyError)
      throw overloaded("too many service tokens are asked for", error.retryAfterMs, error);
    throw error;
  }
}

/** The newest secret or the one before. */
function isSecretOf(client: ServiceClientRow, secret: string): boolean {
  const hash = clientSecretHash(secret);
  const isNewest = timingSafeEqual(hash, client.secretHash);
  return (client.previousSecretHash !== null && timingSafeEqual(hash, client.previousSecretHash)) || isNewest;
}
