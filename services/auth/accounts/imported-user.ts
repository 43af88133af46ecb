import { randomBytes } from "node:crypto";
import { hashProblem } from "./phc.ts";
import { emailProblem, isCleanText, nameKey, normaliseName } from "./username.ts";
import type { NewUser } from "./users.store.ts";

/** A user of the original system, as its table had it. */
export interface OriginalUser {
  readonly username: string;
  readonly email: string | null;
  readonly passwordHash: string;
  readonly salt: string;
  readonly createdAt: Temporal.Instant;
  readonly isAdmin: boolean;
}

export type ImportedUser = { readonly user: NewUser } | { readonly problem: string };

/**
 * The row of a user who comes from another system, or what makes it impossible; never quotes the hash. Names that
 * registration would refuse are taken as long as they can be compared, because their owners have files.
 */
export function importedUser(userId: string, original: OriginalUser): ImportedUser {
  const { username, email, salt, passwordHash } = original;
  const name = normaliseName(username.slice(0, 640));
  if (name === "" || [...name].length > 80 || !isCleanText(username) || /[\p{Cc}]/u.test(name)) {
    return { problem: "username must have 1 to 80 characters and no control characters" };
  }
  const emailRule = email === null || email === "" ? undefined : emailProblem(email);
  if (emailRule !== undefined) return { problem: `email ${emailRule}` };
  if (salt === "" || [...salt].length > 64 || !isCleanText(salt) || salt.includes("\0")) {
    return { problem: "salt must have 1 to 64 characters" };
  }
  const hashRule = hashProblem(passwordHash);
  if (hashRule !== undefined) return { problem: `password_hash ${hashRule}` };
  const user = {
    userId,
    username: name,
    usernameKey: nameKey(username),
    email: email === "" ? null : email,
    emailKey: email === null || email === "" ? null : nameKey(email),
    passwordHash,
    salt,
    createdAt: original.createdAt,
    isAdmin: original.isAdmin,
    personalKey: randomBytes(32),
  };
  return { user };
}
