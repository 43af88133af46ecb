import { randomBytes } from "node:crypto";
import type { Clock } from "#platform/time/clock.ts";
import { uuidv7 } from "#platform/time/uuid.ts";
import { nameKey, normaliseName } from "./username.ts";
import type { NewUser } from "./users.store.ts";

/** A new user's row, not stored yet. */
export function newUser(
  clock: Clock,
  user: { readonly username: string; readonly email?: string | undefined; readonly isAdmin?: boolean },
  passwordHash: string,
): NewUser {
  const email = user.email === undefined || user.email === "" ? null : user.email;
  return {
    userId: uuidv7(clock),
    username: normaliseName(user.username),
    usernameKey: nameKey(user.username),
    email,
    emailKey: email === null ? null : nameKey(email),
    passwordHash,
    salt: randomBytes(16).toString("hex"),
    createdAt: clock.now(),
    isAdmin: user.isAdmin ?? false,
    personalKey: randomBytes(32),
  };
}
