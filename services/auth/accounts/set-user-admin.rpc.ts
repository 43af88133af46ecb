import type { MethodImpl } from "@connectrpc/connect";
import type { UserAdminService } from "#gen/decentrastore/auth/v1/user_admin_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { lastAdmin, userNotFound } from "../errors.ts";
import { clientInfoOf } from "../sessions/client-info.ts";
import { endSessions } from "../sessions/sessions-revoked.event.ts";
import { toProtoUser } from "./proto-user.ts";
import { lockActiveAdmins, lockListedUser, setAdmin } from "./users-admin.store.ts";

export function setUserAdmin(deps: Deps): MethodImpl<typeof UserAdminService.method.setUserAdmin> {
  return async ({ userId, isAdmin, reason }, context) => {
    validate((check) => {
      check.uuid("user_id", userId);
      check.text("reason", reason, { min: 1, max: 500 });
    });
    const actorId = userCallerOf(context).userId;
    const { address } = clientInfoOf(context);
    const done = await transact(deps, async (tx) => {
      const admins = isAdmin ? [] : await lockActiveAdmins(tx);
      const user = await lockListedUser(tx, userId);
      if (user === undefined) return "unknown" as const;
      if (user.isAdmin === isAdmin) return { user, notice: undefined };
      if (!isAdmin && admins.length === 1 && admins[0] === user.userId) return "last admin" as const;
      const changed = await setAdmin(tx, user.userId, isAdmin);
      // Tokens that say `admin` must not outlive the right; new ones come with the next login.
      const ended = isAdmin ? undefined : await endSessions(tx, deps, user.userId, "all", "admin_rights_removed");
      const type = "SET_USER_ADMIN" as const;
      await recordAudit(tx, deps.clock, { type, actorId, userId: user.userId, address, sealFor: actorId, reason });
      return { user: changed, notice: ended?.notice };
    });
    if (done === "unknown") throw userNotFound();
    if (done === "last admin") throw lastAdmin();
    if (done.notice !== undefined) deps.revocations.add(done.notice);
    return { user: toProtoUser(done.user) };
  };
}
