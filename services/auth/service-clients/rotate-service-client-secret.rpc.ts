import { Code, type MethodImpl } from "@connectrpc/connect";
import type { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { authError, serviceClientNotFound } from "../errors.ts";
import { clientInfoOf } from "../sessions/client-info.ts";
import { clientSecretHash, newClientSecret } from "./client-secret.ts";
import { toProtoServiceClient } from "./proto-service-client.ts";
import { findServiceClient, rotateClientSecret } from "./service-clients.store.ts";
import { validateClientId } from "./validate-client-id.ts";

type Method = typeof TokenService.method.rotateServiceClientSecret;

export function rotateServiceClientSecret(deps: Deps): MethodImpl<Method> {
  return async ({ clientId }, context) => {
    validateClientId(clientId);
    const actorId = userCallerOf(context).userId;
    const { address } = clientInfoOf(context);
    const clientSecret = newClientSecret();
    const done = await deps.pool.transaction(async (tx) => {
      const rotated = await rotateClientSecret(tx, clientId, clientSecretHash(clientSecret), deps.clock.now());
      if (rotated === undefined) return { rotated, existing: await findServiceClient(tx, clientId) };
      const type = "ROTATE_SERVICE_CLIENT_SECRET" as const;
      await recordAudit(tx, deps.clock, { type, actorId, clientId, address, sealFor: actorId });
      return { rotated, existing: rotated };
    });
    if (done.existing === undefined) throw serviceClientNotFound();
    if (done.rotated === undefined) {
      throw authError(Code.FailedPrecondition, "SERVICE_CLIENT_REVOKED", "the service client is revoked");
    }
    return { serviceClient: toProtoServiceClient(done.rotated), clientSecret };
  };
}
