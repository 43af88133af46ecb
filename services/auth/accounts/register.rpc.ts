import { Code, type MethodImpl } from "@connectrpc/connect";
import type { AuthService, RegisterRequest } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import { validate } from "#platform/rpc/validate.ts";
import { recordAudit } from "../audit/audit.event.ts";
import type { Deps } from "../deps.ts";
import { authError } from "../errors.ts";
import { clientInfoOf } from "../sessions/client-info.ts";
import { newSession } from "../sessions/new-session.ts";
import { insertSession } from "../sessions/sessions.store.ts";
import { tokensOf } from "../sessions/tokens.ts";
import { limitRate } from "../throttle/limit-rate.rpc.ts";
import { permitted } from "./check-password.rpc.ts";
import { newUser } from "./new-user.ts";
import { passwordProblem } from "./password-policy.ts";
import { toOwnProtoUser } from "./proto-user.ts";
import { userRegistered } from "./user-registered.event.ts";
import { emailProblem, usernameProblem } from "./username.ts";
import { findUser, insertUser, isNameTaken } from "./users.store.ts";

const RATE = { burst: 100, intervalMs: 1_000 };

export function register(deps: Deps): MethodImpl<typeof AuthService.method.register> {
  return async (request, context) => {
    const { username, password, email } = request;
    const client = clientInfoOf(context);
    const passwordHash = await permitted(
      deps,
      async (withPermit) => {
        await limitRate(deps, "Register", client.address, RATE);
        validateRegistration(deps, request);
        // Before anybody looks whether the name or the address is taken: the answer takes as long either way.
        return await withPermit(() => deps.hasher.hash(password));
      },
      context.signal,
    );
    const row = newUser(deps.clock, { username, email }, passwordHash);

    const done = await transact(deps, async (tx) => {
      if (!(await insertUser(tx, row))) {
        return (await isNameTaken(tx, row.usernameKey)) ? ("USERNAME_TAKEN" as const) : ("EMAIL_TAKEN" as const);
      }
      await deps.outbox.append(tx, [userRegistered(deps.clock, row.userId, row.createdAt)]);
      const session = newSession(deps, { ...row, validAfter: null }, client, row.createdAt);
      await insertSession(tx, session);
      const { userId } = row;
      await recordAudit(tx, deps.clock, {
        type: "REGISTER",
        actorId: userId,
        userId,
        sessionId: session.sessionId,
        address: client.address,
      });
      return { user: await findUser(tx, userId), session };
    });
    if (typeof done === "string") {
      const what = done === "USERNAME_TAKEN" ? "username" : "e-mail address";
      throw authError(Code.AlreadyExists, done, `another user has this ${what}`);
    }
    if (done.user === undefined) throw new Error("the user that was just inserted is not there");
    return { user: toOwnProtoUser(done.user), tokens: tokensOf(deps, done.session) };
  };
}

function validateRegistration(deps: Deps, { username, password, email }: RegisterRequest): void {
  validate((check) => {
    const nameRule = usernameProblem(username);
    if (nameRule !== undefined) check.fail("username", nameRule);
    const emailRule = email === undefined || email === "" ? undefined : emailProblem(email);
    if (emailRule !== undefined) check.fail("email", emailRule);
    const passwordRule = passwordProblem(password, { username: username.slice(0, 640), email }, deps.passwordPolicy);
    if (passwordRule !== undefined) check.fail("password", passwordRule);
  });
}
