import { createOutbox, transact } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { recordAudit } from "../audit/audit.event.ts";
import { newUser } from "./new-user.ts";
import type { PasswordHasher } from "./password-hash.ts";
import { type PasswordPolicy, passwordProblem } from "./password-policy.ts";
import { userRegistered } from "./user-registered.event.ts";
import { nameKey } from "./username.ts";
import { findUser, findUserByName, insertUser, type UserRow } from "./users.store.ts";

export type AdminCreation =
  | { readonly kind: "created"; readonly user: UserRow }
  /** The name belongs to an admin already; nothing was changed. */
  | { readonly kind: "exists"; readonly user: UserRow }
  /** The name, or the address, belongs to somebody who is no admin: a stranger may have been quicker. */
  | { readonly kind: "taken" }
  /** Which rule the password breaks. */
  | { readonly kind: "refused"; readonly problem: string };

/** Makes an admin from outside of the service: the first one has nobody who could appoint it. */
export async function createAdmin(
  deps: {
    readonly pool: Pool;
    readonly clock: Clock;
    readonly hasher: PasswordHasher;
    readonly passwordPolicy: PasswordPolicy;
  },
  admin: { readonly username: string; readonly password: string; readonly email?: string | undefined },
): Promise<AdminCreation> {
  const existing = await findUserByName(deps.pool, nameKey(admin.username));
  if (existing !== undefined) return existing.isAdmin ? { kind: "exists", user: existing } : { kind: "taken" };
  const problem = passwordProblem(admin.password, admin, deps.passwordPolicy);
  if (problem !== undefined) return { kind: "refused", problem };
  const row = newUser(deps.clock, { ...admin, isAdmin: true }, await deps.hasher.hash(admin.password));
  const outbox = createOutbox("auth");
  return await transact({ pool: deps.pool, outbox }, async (tx) => {
    if (!(await insertUser(tx, row))) return { kind: "taken" };
    await outbox.append(tx, [userRegistered(deps.clock, row.userId, row.createdAt)]);
    await recordAudit(tx, deps.clock, {
      type: "REGISTER",
      actorId: "cli",
      userId: row.userId,
      reason: "created as an admin",
    });
    const user = await findUser(tx, row.userId);
    return user === undefined ? { kind: "taken" } : { kind: "created", user };
  });
}
