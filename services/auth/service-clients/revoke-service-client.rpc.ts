import type { MethodImpl } from "@connectrpc/connect";
import type { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { serviceClientNotFound } from "../errors.ts";
import { clientInfoOf } from "../sessions/client-info.ts";
import { toProtoServiceClient } from "./proto-service-client.ts";
import { findServiceClient, revokeClient } from "./service-clients.store.ts";
import { validateClientId } from "./validate-client-id.ts";

export function revokeServiceClient(deps: Deps): MethodImpl<typeof TokenService.method.revokeServiceClient> {
  return async ({ clientId }, context) => {
    validateClientId(clientId);
    const actorId = userCallerOf(context).userId;
    const { address } = clientInfoOf(context);
    const client = await deps.pool.transaction(async (tx) => {
      const revoked = await revokeClient(tx, clientId, deps.clock.now());
      if (revoked === undefined) return await findServiceClient(tx, clientId);
      const type = "REVOKE_SERVICE_CLIENT" as const;
      await recordAudit(tx, deps.clock, { type, actorId, clientId, address, sealFor: actorId });
      return revoked;
    });
    if (client === undefined) throw serviceClientNotFound();
    return { serviceClient: toProtoServiceClient(client) };
  };
}
