import type { MethodImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { tokenInvalid } from "../errors.ts";
import { clientInfoOf } from "../sessions/client-info.ts";
import { endSessions } from "../sessions/sessions-revoked.event.ts";
import { checkPassword, type PasswordCheck, refuse } from "./check-password.rpc.ts";
import { passwordProblem } from "./password-policy.ts";
import { toOwnProtoUser } from "./proto-user.ts";
import { findUser, replacePassword } from "./users.store.ts";

/** Counted and answered like Login: a stolen access token must be no way to guess the password faster. */
export function changePassword(deps: Deps): MethodImpl<typeof AuthService.method.changePassword> {
  return async (request, context) => {
    const arrivedMs = deps.clock.monotonicMs();
    const { userId, sessionId } = userCallerOf(context);
    const { address } = clientInfoOf(context);
    const user = await findUser(deps.pool, userId);
    if (user === undefined || !user.isActive) throw tokenInvalid();
    validate((check) => {
      const of = { username: user.username, email: user.email ?? undefined };
      const rule = passwordProblem(request.newPassword, of, deps.passwordPolicy);
      if (rule !== undefined) check.fail("new_password", rule);
      else if (request.newPassword === request.currentPassword) check.fail("new_password", "must be another password");
    });
    const check: PasswordCheck = {
      type: "CHANGE_PASSWORD",
      findUser: async () => user,
      username: user.username,
      password: request.currentPassword,
      address,
      sessionId,
      arrivedMs,
      whenRight: () => deps.hasher.hash(request.newPassword),
    };
    const { newHash } = await checkPassword(deps, check, context.signal);
    if (newHash === undefined) throw new Error("the new password was not hashed");

    const done = await transact(deps, async (tx) => {
      const changed = await replacePassword(tx, user, newHash);
      if (changed === undefined) return undefined;
      const ended = await endSessions(tx, deps, userId, { except: sessionId }, "password_changed");
      await recordAudit(tx, deps.clock, { type: "CHANGE_PASSWORD", actorId: userId, userId, sessionId, address });
      return { changed, notice: ended.notice };
    });
    // Somebody else changed it, or deactivated the user, while the hashes were computed.
    if (done === undefined) return await refuse(deps, check, user, 0);
    if (done.notice !== undefined) deps.revocations.add(done.notice);
    return { user: toOwnProtoUser(done.changed) };
  };
}
