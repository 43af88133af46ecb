import type { MethodImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import type { Deps } from "../deps.ts";
import { endOwnSessions } from "./end-own-sessions.rpc.ts";

export function logout(deps: Deps): MethodImpl<typeof AuthService.method.logout> {
  return async (_request, context) => {
    const only = userCallerOf(context).sessionId;
    await endOwnSessions(deps, context, { only }, { type: "LOGOUT", reason: "logout" });
    return {};
  };
}
