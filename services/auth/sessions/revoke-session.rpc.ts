import type { MethodImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { sessionNotFound } from "../errors.ts";
import { endOwnSessions } from "./end-own-sessions.rpc.ts";
import { toProtoSession } from "./proto-session.ts";
import { findSession } from "./sessions.store.ts";

export function revokeSession(deps: Deps): MethodImpl<typeof AuthService.method.revokeSession> {
  return async ({ sessionId }, context) => {
    validate((check) => check.uuid("session_id", sessionId));
    const caller = userCallerOf(context);
    const why = { type: "REVOKE_SESSION", reason: "revoked_by_user" } as const;
    const [ended] = await endOwnSessions(deps, context, { only: sessionId }, why);
    const session = ended ?? (await findSession(deps.pool, sessionId));
    if (session === undefined || session.userId !== caller.userId) throw sessionNotFound();
    return { session: toProtoSession(session, caller.sessionId) };
  };
}
