import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zInstant, zUuid, zVoid } from "#platform/postgres/sql.ts";

/** What an admin sees of a user: no hash and no salt. */
const row = z.strictObject({
  userId: zUuid,
  username: z.string(),
  email: z.string().nullable(),
  createdAt: zInstant,
  lastLogin: zInstant.nullable(),
  isActive: z.boolean(),
  isAdmin: z.boolean(),
  usernameKey: z.string(),
  emailKey: z.string().nullable(),
});
export type ListedUser = z.output<typeof row>;

const columns = sql.fragment`
  id "userId", username, email, created_at "createdAt", last_login "lastLogin", is_active "isActive",
  is_admin "isAdmin", username_key "usernameKey", email_key "emailKey"`;

/** Sorts behind every text that begins with the prefix. */
const LAST = "\u{10ffff}";

/** By username_key, behind `after`: a range of the index, so a page costs the same however many users there are. */
export async function listUsersByName(
  db: Connection,
  prefix: string,
  after: string | undefined,
  limit: number,
): Promise<readonly ListedUser[]> {
  return await db.any(sql.type(row)`
    select ${columns} from auth.users
    where username_key >= ${prefix} and username_key <= ${prefix + LAST} and username_key > ${after ?? ""}
    order by username_key limit ${limit}`);
}

/** Those whose address begins with the prefix, and whose name does not: they come after the others. */
export async function listUsersByEmail(
  db: Connection,
  prefix: string,
  after: string | undefined,
  limit: number,
): Promise<readonly ListedUser[]> {
  return await db.any(sql.type(row)`
    select ${columns} from auth.users
    where email_key >= ${prefix} and email_key <= ${prefix + LAST} and email_key > ${after ?? ""}
      and not starts_with(username_key, ${prefix})
    order by email_key limit ${limit}`);
}

export async function findListedUser(db: Connection, userId: string): Promise<ListedUser | undefined> {
  const found = await db.maybeOne(sql.type(row)`select ${columns} from auth.users where id = ${userId}`);
  return found ?? undefined;
}

export async function lockListedUser(tx: Connection, userId: string): Promise<ListedUser | undefined> {
  const found = await tx.maybeOne(sql.type(row)`
    select ${columns} from auth.users where id = ${userId} for no key update`);
  return found ?? undefined;
}

/**
 * All active admins, locked: whoever takes the right, the activity or the life of one waits for the others who do, so
 * that two admins who demote each other cannot leave none.
 */
export async function lockActiveAdmins(tx: Connection): Promise<readonly string[]> {
  return await tx.anyFirst(sql.type(z.strictObject({ id: zUuid }))`
    select id from auth.users where is_admin and is_active order by id for no key update`);
}

export async function setActive(tx: Connection, userId: string, isActive: boolean): Promise<ListedUser> {
  return await tx.one(sql.type(row)`
    update auth.users set is_active = ${isActive} where id = ${userId} returning ${columns}`);
}

export async function setAdmin(tx: Connection, userId: string, isAdmin: boolean): Promise<ListedUser> {
  return await tx.one(sql.type(row)`
    update auth.users set is_admin = ${isAdmin} where id = ${userId} returning ${columns}`);
}

/** Name, address, hash, salt, personal key, and with them the sessions. */
export async function eraseUser(tx: Connection, userId: string): Promise<void> {
  await tx.query(sql.type(zVoid)`delete from auth.users where id = ${userId}`);
}
