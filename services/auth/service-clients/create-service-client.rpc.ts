import { randomBytes } from "node:crypto";
import { Code, type MethodImpl } from "@connectrpc/connect";
import type { TokenService } from "#gen/decentrastore/auth/v1/token_service_pb.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { authError } from "../errors.ts";
import { clientInfoOf } from "../sessions/client-info.ts";
import { clientSecretHash, newClientSecret } from "./client-secret.ts";
import { toProtoServiceClient } from "./proto-service-client.ts";
import { scopesProblem } from "./scopes.ts";
import { insertServiceClient } from "./service-clients.store.ts";

export function createServiceClient(deps: Deps): MethodImpl<typeof TokenService.method.createServiceClient> {
  return async (request, context) => {
    const actorId = userCallerOf(context).userId;
    const { address } = clientInfoOf(context);
    validate((check) => {
      check.text("name", request.name, { min: 1, max: 80 });
      const rule = scopesProblem(request.scopes);
      if (rule !== undefined) check.fail("scopes", rule);
    });
    const clientSecret = newClientSecret();
    const clientId = `sc_${randomBytes(12).toString("hex")}`;
    const created = await deps.pool.transaction(async (tx) => {
      const client = await insertServiceClient(tx, {
        clientId,
        name: request.name,
        scopes: request.scopes,
        secretHash: clientSecretHash(clientSecret),
        createdAt: deps.clock.now(),
      });
      if (client === undefined) return undefined;
      const type = "CREATE_SERVICE_CLIENT" as const;
      await recordAudit(tx, deps.clock, { type, actorId, clientId, address, sealFor: actorId });
      return client;
    });
    if (created === undefined) {
      throw authError(Code.AlreadyExists, "SERVICE_CLIENT_NAME_TAKEN", "another service client has this name");
    }
    return { serviceClient: toProtoServiceClient(created), clientSecret };
  };
}
