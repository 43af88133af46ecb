import type { MessageInitShape } from "@bufbuild/protobuf";
import type { SessionSchema } from "#gen/decentrastore/auth/v1/session_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { SessionRow } from "./sessions.store.ts";

export function toProtoSession(session: SessionRow, currentSessionId: string): MessageInitShape<typeof SessionSchema> {
  return {
    sessionId: session.sessionId,
    createdAt: toTimestamp(session.createdAt),
    lastUsedAt: toTimestamp(session.rotatedAt),
    expiresAt: toTimestamp(session.idleExpiresAt),
    clientAddress: session.clientAddress,
    userAgent: session.userAgent,
    isCurrent: session.sessionId === currentSessionId,
    ...(session.revokedAt === null ? {} : { revokedAt: toTimestamp(session.revokedAt) }),
  };
}
