import type { MethodImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import type { Deps } from "../deps.ts";
import { endOwnSessions } from "./end-own-sessions.rpc.ts";

export function revokeAllSessions(deps: Deps): MethodImpl<typeof AuthService.method.revokeAllSessions> {
  return async (_request, context) => {
    const why = { type: "REVOKE_ALL_SESSIONS", reason: "revoked_by_user" } as const;
    return { revokedSessions: (await endOwnSessions(deps, context, "all", why)).length };
  };
}
