import { z } from "zod";
import { createOutbox, type OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Pool, Transaction } from "#platform/postgres/pool.ts";
import {
  boolArray,
  byteaArray,
  instantArray,
  int8Array,
  sql,
  textArray,
  uuidArray,
  zUuid,
} from "#platform/postgres/sql.ts";
import type { Clock } from "#platform/time/clock.ts";
import { userDeactivated } from "../../services/auth/accounts/user-changed.event.ts";
import { userRegistered } from "../../services/auth/accounts/user-registered.event.ts";
import { recordAudit } from "../../services/auth/audit/audit.event.ts";
import type { ImportedRow } from "./original-row.ts";

/** What became of one row; `there` is a user whom an earlier run has imported. */
export type Outcome = { readonly kind: "imported" | "there" } | { readonly kind: "refused"; readonly problem: string };

/**
 * Writes the users of a batch with their events, all or none; one entry per row, in the order of the rows. Users that
 * are there already stay as they are, and users that were deleted here do not come back.
 */
export function importBatch(pool: Pool, clock: Clock, rows: readonly ImportedRow[]): Promise<readonly Outcome[]> {
  return pool.transaction(async (tx) => {
    const deleted = await deletedOf(tx, rows);
    const inserted = await insertUsers(
      tx,
      rows.filter(({ user }) => !deleted.has(user.userId)),
    );
    const imported = rows.filter((row) => inserted.delete(row.user.userId));
    await createOutbox("auth").append(
      tx,
      imported.flatMap((row) => eventsOf(clock, row)),
    );
    await auditImport(tx, clock, imported);
    const isImported = new Set(imported);
    const refused = await explainRefusals(
      tx,
      rows.filter((row) => !isImported.has(row)),
      deleted,
    );
    return rows.map((row) => refused.get(row) ?? { kind: "imported" });
  });
}

/** The same answers as of `importBatch`, without changing anything; `earlier` are the rows of this file before these. */
export async function rehearseBatch(pool: Pool, rows: readonly ImportedRow[], earlier: EarlierRows) {
  const deleted = await deletedOf(pool, rows);
  const refused = await explainRefusals(pool, rows, deleted);
  return rows.map((row): Outcome => {
    const outcome = refused.get(row) ?? earlier.conflictOf(row) ?? { kind: "imported" };
    if (outcome.kind === "imported") earlier.add(row);
    return outcome;
  });
}

interface EarlierRows {
  conflictOf(row: ImportedRow): Outcome | undefined;
  add(row: ImportedRow): void;
}

/** What the database knows of the rows before, in a rehearsal that writes none of them. */
export function createEarlierRows(): EarlierRows {
  const [ids, names, emails] = [new Set<string>(), new Map<string, string>(), new Map<string, string>()];
  return {
    conflictOf: ({ user: { userId, usernameKey, emailKey } }) => {
      if (ids.has(userId) && names.get(usernameKey) === userId) return { kind: "there" };
      return conflictOf({
        isIdTaken: ids.has(userId),
        name: names.get(usernameKey),
        email: emails.get(emailKey ?? ""),
      });
    },
    add: ({ user: { userId, usernameKey, emailKey } }) => {
      ids.add(userId);
      names.set(usernameKey, userId);
      if (emailKey !== null) emails.set(emailKey, userId);
    },
  };
}

function eventsOf(clock: Clock, { user, isActive, opening }: ImportedRow): readonly OutboxEvent[] {
  const registered = userRegistered(clock, user.userId, user.createdAt, opening);
  if (isActive) return [registered];
  const validAfter = clock.now().round({ smallestUnit: "second", roundingMode: "floor" });
  return [registered, userDeactivated({ clock, userId: user.userId, keyVersion: 2n }, validAfter, "imported")];
}

/** One entry for all of a batch, and one for each admin. */
async function auditImport(tx: Transaction, clock: Clock, rows: readonly ImportedRow[]): Promise<void> {
  if (rows.length === 0) return;
  const entry = { type: "REGISTER", actorId: "cli" } as const;
  await recordAudit(tx, clock, { ...entry, reason: `imported ${rows.length} users from another system` });
  for (const { user } of rows.filter((row) => row.user.isAdmin)) {
    await recordAudit(tx, clock, { ...entry, userId: user.userId, reason: "imported as an admin" });
  }
}

const idRow = z.strictObject({ id: zUuid });

async function insertUsers(tx: Transaction, rows: readonly ImportedRow[]): Promise<Set<string>> {
  const users = rows.map(({ user }) => user);
  const inserted = await tx.anyFirst(sql.type(idRow)`
    insert into auth.users (
      id, username, username_key, email, email_key, password_hash, salt, created_at, last_login, is_active, is_admin,
      personal_key, event_version
    )
    select id, username, username_key, email, email_key, password_hash, salt, created_at, last_login, is_active,
      is_admin, personal_key, event_version
    from unnest(
      ${uuidArray(users.map((user) => user.userId))},
      ${textArray(users.map((user) => user.username))},
      ${textArray(users.map((user) => user.usernameKey))},
      ${sql.array(
        users.map((user) => user.email),
        "text",
      )},
      ${sql.array(
        users.map((user) => user.emailKey),
        "text",
      )},
      ${textArray(users.map((user) => user.passwordHash))},
      ${textArray(users.map((user) => user.salt))},
      ${instantArray(users.map((user) => user.createdAt))},
      ${instantArray(rows.map((row) => row.lastLogin))},
      ${boolArray(rows.map((row) => row.isActive))},
      ${boolArray(users.map((user) => user.isAdmin))},
      ${byteaArray(users.map((user) => user.personalKey))},
      ${int8Array(rows.map((row) => (row.isActive ? 1n : 2n)))}
    ) with ordinality as imported (
      id, username, username_key, email, email_key, password_hash, salt, created_at, last_login, is_active, is_admin,
      personal_key, event_version, position
    )
    order by position
    on conflict do nothing
    returning id`);
  return new Set(inserted);
}

async function deletedOf(db: Pool | Transaction, rows: readonly ImportedRow[]): Promise<ReadonlySet<string>> {
  const found = await db.anyFirst(sql.type(idRow)`
    select user_id id from auth.audit_events
    where user_id = any (${uuidArray(rows.map(({ user }) => user.userId))}) and type = 'DELETE_USER'`);
  return new Set(found);
}

const takenRow = z.strictObject({ id: zUuid, name: z.string(), email: z.string().nullable() });

/** Of rows that the database has not taken, or would not take. */
async function explainRefusals(
  db: Pool | Transaction,
  rows: readonly ImportedRow[],
  deleted: ReadonlySet<string>,
): Promise<ReadonlyMap<ImportedRow, Outcome>> {
  if (rows.length === 0) return new Map();
  const emails = rows.flatMap(({ user }) => (user.emailKey === null ? [] : [user.emailKey]));
  const columns = sql.fragment`select id, username_key name, email_key email from auth.users`;
  const taken = await db.any(sql.type(takenRow)`
    ${columns} where id = any (${uuidArray(rows.map(({ user }) => user.userId))})
    union ${columns} where username_key = any (${textArray(rows.map(({ user }) => user.usernameKey))})
    union ${columns} where email_key = any (${textArray(emails)})`);
  const byId = new Map(taken.map((user) => [user.id, user]));
  const byName = new Map(taken.map((user) => [user.name, user.id]));
  const byEmail = new Map(taken.map((user) => [user.email ?? "", user.id]));
  const outcomes = rows.map((row): readonly [ImportedRow, Outcome | undefined] => {
    const { userId, usernameKey, emailKey } = row.user;
    if (deleted.has(userId)) return [row, { kind: "refused", problem: "was deleted here and stays so" }];
    const holder = byId.get(userId);
    if (holder?.name === usernameKey) return [row, { kind: "there" }];
    const email = emailKey === null ? undefined : byEmail.get(emailKey);
    return [row, conflictOf({ isIdTaken: holder !== undefined, name: byName.get(usernameKey), email })];
  });
  return new Map(outcomes.flatMap(([row, outcome]) => (outcome === undefined ? [] : [[row, outcome] as const])));
}

function conflictOf(taken: {
  isIdTaken: boolean;
  name: string | undefined;
  email: string | undefined;
}): Outcome | undefined {
  if (taken.isIdTaken) return { kind: "refused", problem: "its id belongs to a user of another name" };
  if (taken.name !== undefined) return { kind: "refused", problem: `its username belongs to ${taken.name}` };
  if (taken.email !== undefined) return { kind: "refused", problem: `its e-mail address belongs to ${taken.email}` };
  return undefined;
}
