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
import { userDeleted } from "./user-changed.event.ts";
import { eraseUser, lockActiveAdmins, lockListedUser } from "./users-admin.store.ts";

export function deleteUser(deps: Deps): MethodImpl<typeof UserAdminService.method.deleteUser> {
  return async (request, context) => {
    validate((check) => check.uuid("user_id", request.userId));
    const actorId = userCallerOf(context).userId;
    const { address } = clientInfoOf(context);
    const done = await transact(deps, async (tx) => {
      const admins = await lockActiveAdmins(tx);
      const user = await lockListedUser(tx, request.userId);
      if (user === undefined) return "unknown" as const;
      if (admins.length === 1 && admins[0] === user.userId) return "last admin" as const;
      const { userId } = user;
      const validAfter = await endAllSessions(tx, deps.clock, userId, "deleted");
      const keyVersion = await nextUserVersion(tx, userId);
      await deps.outbox.append(tx, [userDeleted({ clock: deps.clock, userId, keyVersion }, validAfter)]);
      // The address is the admin's, so it is sealed for the admin. Who deletes itself leaves none.
      await recordAudit(tx, deps.clock, { type: "DELETE_USER", actorId, userId, address, sealFor: actorId });
      await eraseUser(tx, userId);
      return { userId, sessionIds: [], validAfter };
    });
    if (done === "unknown") throw userNotFound();
    if (done === "last admin") throw lastAdmin();
    deps.revocations.add(done);
    return {};
  };
}
