import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { bytes, instant, sql, zInstant, zUuid, zVoid } from "#platform/postgres/sql.ts";

const row = z.strictObject({
  userId: zUuid,
  username: z.string(),
  usernameKey: z.string(),
  email: z.string().nullable(),
  passwordHash: z.string(),
  passwordVersion: z.int(),
  salt: z.string(),
  createdAt: zInstant,
  lastLogin: zInstant.nullable(),
  isActive: z.boolean(),
  isAdmin: z.boolean(),
  validAfter: zInstant.nullable(),
});
export type UserRow = z.output<typeof row>;

const columns = sql.fragment`
  id "userId", username, username_key "usernameKey", email, password_hash "passwordHash",
  password_version "passwordVersion", salt, created_at "createdAt", last_login "lastLogin", is_active "isActive",
  is_admin "isAdmin", valid_after "validAfter"`;

export interface NewUser {
  readonly userId: string;
  readonly username: string;
  readonly usernameKey: string;
  readonly email: string | null;
  readonly emailKey: string | null;
  readonly passwordHash: string;
  readonly salt: string;
  readonly createdAt: Temporal.Instant;
  readonly isAdmin: boolean;
  readonly personalKey: Uint8Array;
}

/** False when another user has the name or the address. */
export async function insertUser(tx: Connection, user: NewUser): Promise<boolean> {
  const { rowCount } = await tx.query(sql.type(zVoid)`
    insert into auth.users (
      id, username, username_key, email, email_key, password_hash, salt, created_at, is_admin, personal_key,
      event_version
    ) values (
      ${user.userId}, ${user.username}, ${user.usernameKey}, ${user.email}, ${user.emailKey}, ${user.passwordHash},
      ${user.salt}, ${instant(user.createdAt)}, ${user.isAdmin}, ${bytes(user.personalKey)}, 1
    ) on conflict do nothing`);
  return rowCount === 1;
}

export async function findUser(db: Connection, userId: string): Promise<UserRow | undefined> {
  const found = await db.maybeOne(sql.type(row)`select ${columns} from auth.users where id = ${userId}`);
  return found ?? undefined;
}

export async function findUserByName(db: Connection, usernameKey: string): Promise<UserRow | undefined> {
  const found = await db.maybeOne(sql.type(row)`select ${columns} from auth.users where username_key = ${usernameKey}`);
  return found ?? undefined;
}

/**
 * The user after a login with a password that was right a moment ago, or undefined where the password has been changed
 * or the user deactivated since. A new hash replaces only the one that was checked.
 */
export async function recordLogin(
  tx: Connection,
  checked: Pick<UserRow, "userId" | "passwordHash" | "passwordVersion">,
  newHash: string | undefined,
  now: Temporal.Instant,
): Promise<UserRow | undefined> {
  const hash =
    newHash === undefined
      ? sql.fragment`password_hash`
      : sql.fragment`case when password_hash = ${checked.passwordHash} then ${newHash} else password_hash end`;
  const found = await tx.maybeOne(sql.type(row)`
    update auth.users set last_login = ${instant(now)}, password_hash = ${hash}
    where id = ${checked.userId} and is_active and password_version = ${checked.passwordVersion}
    returning ${columns}`);
  return found ?? undefined;
}

/** Undefined where the password has been changed since it was checked, or the user deactivated. */
export async function replacePassword(
  tx: Connection,
  checked: Pick<UserRow, "userId" | "passwordVersion">,
  newHash: string,
): Promise<UserRow | undefined> {
  const found = await tx.maybeOne(sql.type(row)`
    update auth.users set password_hash = ${newHash}, password_version = password_version + 1
    where id = ${checked.userId} and is_active and password_version = ${checked.passwordVersion}
    returning ${columns}`);
  return found ?? undefined;
}

export async function isNameTaken(db: Connection, usernameKey: string): Promise<boolean> {
  return await db.exists(sql.type(zVoid)`select from auth.users where username_key = ${usernameKey}`);
}
