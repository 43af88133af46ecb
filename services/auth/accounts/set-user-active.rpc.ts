import type { MethodImpl } from "@connectrpc/connect";
import type { UserAdminService } from "#gen/decentrastore/auth/v1/user_admin_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { lastAdmin, userNotFound } from "../errors.ts";
import { clientInfoOf } from "../sessions/client-info.ts";
import { nextUserVersion } from "../sessions/sessions.store.ts";
import { endAllSessions } from "../sessions/sessions-revoked.event.ts";
import { toProtoUser } from "./proto-user.ts";
import { userActivated, userDeactivated } from "./user-changed.event.ts";
import { lockActiveAdmins, lockListedUser, setActive } from "./users-admin.store.ts";

export function setUserActive(deps: Deps): MethodImpl<typeof UserAdminService.method.setUserActive> {
  return async ({ userId, isActive, reason }, context) => {
    validate((check) => {
      check.uuid("user_id", userId);
      check.text("reason", reason, { min: 1, max: 500 });
    });
    const actorId = userCallerOf(context).userId;
    const { address } = clientInfoOf(context);
    const done = await transact(deps, async (tx) => {
      const admins = isActive ? [] : await lockActiveAdmins(tx);
      const user = await lockListedUser(tx, userId);
      if (user === undefined) return "unknown" as const;
      if (user.isActive === isActive) return { user, notice: undefined };
      if (!isActive && admins.length === 1 && admins[0] === user.userId) return "last admin" as const;
      const validAfter = isActive ? undefined : await endAllSessions(tx, deps.clock, user.userId, "deactivated");
      const changed = await setActive(tx, user.userId, isActive);
      const keyVersion = await nextUserVersion(tx, user.userId, validAfter);
      const at = { clock: deps.clock, userId: user.userId, keyVersion };
      const event = validAfter === undefined ? userActivated(at, reason) : userDeactivated(at, validAfter, reason);
      await deps.outbox.append(tx, [event]);
      const type = "SET_USER_ACTIVE" as const;
      await recordAudit(tx, deps.clock, { type, actorId, userId: user.userId, address, sealFor: actorId, reason });
      const notice = validAfter && { userId: user.userId, sessionIds: [], validAfter };
      return { user: changed, notice };
    });
    if (done === "unknown") throw userNotFound();
    if (done === "last admin") throw lastAdmin();
    if (done.notice !== undefined) deps.revocations.add(done.notice);
    return { user: toProtoUser(done.user) };
  };
}
