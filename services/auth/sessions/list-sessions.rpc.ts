import type { MethodImpl } from "@connectrpc/connect";
import { z } from "zod";
import type { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { nextPageToken, pageOf } from "#platform/rpc/paging.ts";
import type { Deps } from "../deps.ts";
import { zInstantText } from "../instant-text.ts";
import { toProtoSession } from "./proto-session.ts";
import { listLivingSessions } from "./sessions.store.ts";

const cursor = z.strictObject({ rotatedAt: zInstantText, sessionId: z.uuid() });

export function listSessions(deps: Deps): MethodImpl<typeof AuthService.method.listSessions> {
  return async (request, context) => {
    const caller = userCallerOf(context);
    const page = pageOf(request, cursor);
    const sessions = await listLivingSessions(deps.pool, caller.userId, deps.clock.now(), page);
    return {
      sessions: sessions.map((session) => toProtoSession(session, caller.sessionId)),
      nextPageToken: nextPageToken(sessions, page.limit, ({ rotatedAt, sessionId }) => ({ rotatedAt, sessionId })),
    };
  };
}
