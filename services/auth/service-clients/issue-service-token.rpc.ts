import { timingSafeEqual } from "node:crypto";
import { Code, type MethodImpl } from "@connectrpc/connect";
import type { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { authError } from "../errors.ts";
import { signServiceToken } from "../keys/access-token.ts";
import { clientInfoOf } from "../sessions/client-info.ts";
import { limitRate } from "../throttle/limit-rate.rpc.ts";
import { clientSecretHash } from "./client-secret.ts";
import { findServiceClient, markClientUsed, type ServiceClientRow } from "./service-clients.store.ts";

const RATE = { burst: 100, intervalMs: 100 };

export function issueServiceToken(deps: Deps): MethodImpl<typeof TokenService.method.issueServiceToken> {
  return async (request, context) => {
    const { address } = clientInfoOf(context);
    await limitRate(deps, "IssueServiceToken", address, RATE);
    const { clientId, clientSecret } = request;
    // Ids of ours are plain; anything else may hold what a database cannot.
    const client = /^[\w-]{1,64}$/.test(clientId) ? await findServiceClient(deps.pool, clientId) : undefined;
    if (client === undefined || client.revokedAt !== null || !isSecretOf(client, clientSecret)) {
      await recordAudit(deps.pool, deps.clock, {
        type: "ISSUE_SERVICE_TOKEN",
        refused: "INVALID_CREDENTIALS",
        clientId: client?.clientId ?? "",
        address,
      });
      throw authError(Code.Unauthenticated, "INVALID_CREDENTIALS", "the client_id or the client_secret is wrong");
    }
    const now = deps.clock.now();
    await markClientUsed(deps.pool, client.clientId, now);
    const signed = signServiceToken(deps.keyring.current(), {
      issuer: deps.issuer,
      clientId: client.clientId,
      scopes: client.scopes,
      issuedAt: now,
    });
    return { accessToken: signed.token, accessTokenExpiresAt: toTimestamp(signed.expiresAt) };
  };
}

/** The newest secret or the one before. */
function isSecretOf(client: ServiceClientRow, secret: string): boolean {
  const hash = clientSecretHash(secret);
  const isNewest = timingSafeEqual(hash, client.secretHash);
  return (client.previousSecretHash !== null && timingSafeEqual(hash, client.previousSecretHash)) || isNewest;
}
