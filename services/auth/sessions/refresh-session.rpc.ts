import type { MethodImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { refreshTokenInvalid } from "../errors.ts";
import { takeFromRate } from "../throttle/rate-limits.store.ts";
import { type ClientInfo, clientInfoOf } from "./client-info.ts";
import type { RefreshTokenContent } from "./refresh-token.ts";
import { decideRefresh } from "./session.ts";
import { findSession, lockSession, lockUser, rotateSession, type SessionRow } from "./sessions.store.ts";
import { endSessions } from "./sessions-revoked.event.ts";
import { tokensOf } from "./tokens.ts";

/** Of one session. Whoever has a token of a dead one could otherwise fill the disk with the trail, which is kept for ever. */
const RECORDED_REFUSALS = { burst: 10, intervalMs: 60_000 };

export function refreshSession(deps: Deps): MethodImpl<typeof AuthService.method.refreshSession> {
  return async (request, context) => {
    const presented = deps.refreshTokens.read(request.refreshToken);
    if (presented === undefined) throw refreshTokenInvalid();
    const client = clientInfoOf(context);
    const now = deps.clock.now();
    const rotated = await rotateSession(deps.pool, {
      sessionId: presented.sessionId,
      generation: presented.generation,
      now,
      idleExpiresAt: now.add({ milliseconds: deps.sessionRules.idleMs }),
      tokenKeyId: deps.keyring.current().keyId,
      clientAddress: client.address,
      userAgent: client.userAgent,
    });
    if (rotated !== undefined) return { tokens: tokensOf(deps, rotated) };
    const repeated = await settleOldToken(deps, presented, client);
    // Another replica may have signed with a key that this one has not read yet.
    if (deps.keyring.find(repeated.tokenKeyId) === undefined) await deps.keyring.reload();
    return { tokens: tokensOf(deps, repeated) };
  };
}

/** The token is not the newest: the answer to the last refresh again, a theft, or nothing at all. */
async function settleOldToken(deps: Deps, presented: RefreshTokenContent, client: ClientInfo): Promise<SessionRow> {
  const settled = await transact(deps, async (tx) => {
    const { userId } = (await findSession(tx, presented.sessionId)) ?? {};
    if (userId === undefined || (await lockUser(tx, userId)) === undefined) return undefined;
    const session = await lockSession(tx, presented.sessionId);
    if (session === undefined) return undefined;
    const decision = decideRefresh(session, presented.generation, deps.clock.now(), deps.sessionRules);
    if (decision === "replay") return { session };
    const { sessionId } = session;
    const isTheft = decision === "theft";
    const key = deps.throttleKeys.rate("RefreshSession", sessionId);
    if (!isTheft && (await takeFromRate(tx, key, RECORDED_REFUSALS, deps.clock.now())) !== undefined) return undefined;
    const ended = isTheft
      ? await endSessions(tx, deps, userId, { only: sessionId }, "refresh_token_reused")
      : undefined;
    await recordAudit(tx, deps.clock, {
      type: isTheft ? "REFRESH_TOKEN_REUSE" : "REFRESH",
      refused: "REFRESH_TOKEN_INVALID",
      userId,
      sessionId,
      address: client.address,
      ...(isTheft ? { reason: "an old refresh token was used again: the session was revoked" } : {}),
    });
    return { notice: ended?.notice };
  });
  if (settled?.session !== undefined) return settled.session;
  if (settled?.notice !== undefined) {
    deps.revocations.add(settled.notice);
    deps.log.warn(settled.notice, "an old refresh token was used again: the session was revoked");
  }
  throw refreshTokenInvalid();
}
