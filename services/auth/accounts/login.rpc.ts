import type { MethodImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { clientInfoOf } from "../sessions/client-info.ts";
import { newSession } from "../sessions/new-session.ts";
import { insertSession } from "../sessions/sessions.store.ts";
import { tokensInTime } from "../sessions/tokens.ts";
import { checkPassword, lookupKeyOf, type PasswordCheck, refuse } from "./check-password.rpc.ts";
import { toOwnProtoUser } from "./proto-user.ts";
import { findUserByName, recordLogin } from "./users.store.ts";

export function login(deps: Deps): MethodImpl<typeof AuthService.method.login> {
  return async (request, context) => {
    const arrivedMs = deps.clock.monotonicMs();
    const client = clientInfoOf(context);
    const key = lookupKeyOf(request.username);
    const check: PasswordCheck = {
      type: "LOGIN",
      findUser: async () => (key === undefined ? undefined : await findUserByName(deps.pool, key)),
      username: request.username,
      password: request.password,
      address: client.address,
      arrivedMs,
      whenRight: (user) => deps.hasher.rehash(user.passwordHash, request.password),
    };
    const { user: checked, newHash } = await checkPassword(deps, check, context.signal);

    const done = await deps.pool.transaction(async (tx) => {
      const now = deps.clock.now();
      const user = await recordLogin(tx, checked, newHash, now);
      if (user === undefined) return undefined;
      const session = newSession(deps, user, client, now);
      await insertSession(tx, session);
      await recordAudit(tx, deps.clock, {
        type: "LOGIN",
        actorId: user.userId,
        userId: user.userId,
        sessionId: session.sessionId,
        address: client.address,
      });
      return { user, session };
    });
    // Deactivated, or given another password, while the hash was computed.
    if (done === undefined) return await refuse(deps, check, checked, 0);
    return { user: toOwnProtoUser(done.user), tokens: await tokensInTime(deps, done.session) };
  };
}
