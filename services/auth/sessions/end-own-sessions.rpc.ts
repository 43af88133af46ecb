import type { HandlerContext } from "@connectrpc/connect";
import { transact } from "#platform/outbox/outbox.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { clientInfoOf } from "./client-info.ts";
import type { SessionChoice, SessionRow } from "./sessions.store.ts";
import { endSessions, type RevocationReason } from "./sessions-revoked.event.ts";

/** Ends sessions of the calling user: revocation, audit entry and event in one transaction. */
export async function endOwnSessions(
  deps: Deps,
  context: HandlerContext,
  choice: SessionChoice,
  why: {
    readonly type: "LOGOUT" | "REVOKE_SESSION" | "REVOKE_ALL_SESSIONS";
    readonly reason: RevocationReason;
  },
): Promise<readonly SessionRow[]> {
  const { userId, sessionId } = userCallerOf(context);
  const { address } = clientInfoOf(context);
  const ended = await transact(deps, async (tx) => {
    const result = await endSessions(tx, deps, userId, choice, why.reason);
    if (result.sessions.length > 0) {
      const concerned = choice === "all" || !("only" in choice) ? sessionId : choice.only;
      await recordAudit(tx, deps.clock, { type: why.type, actorId: userId, userId, sessionId: concerned, address });
    }
    return result;
  });
  if (ended.notice !== undefined) deps.revocations.add(ended.notice);
  return ended.sessions;
}
