import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import pg from "pg";
import type { Schema } from "#platform/config/service-config.ts";

/**
 * Makes the owner and the application role of a schema, and the schema itself, where they are missing.
 *
 * Roles belong to the whole server: two databases migrated at the same moment may both try to make them.
 */
export async function ensureSchema(client: pg.ClientBase, schema: Schema): Promise<void> {
  for (const role of [`${schema}_owner`, `${schema}_app`]) await ensureRole(client, role);
  await ensureMembership(client, `${schema}_owner`);
  await refuseInPlaceOf(client, schema);
  await client.query(`create schema if not exists ${schema} authorization ${schema}_owner`);
  await client.query(`grant usage on schema ${schema} to ${schema}_app`);
}

/** Where a restore keeps what was there before, until it has verified what it brought back. */
export function asideOf(schema: Schema): string {
  return `${schema}_before_restore`;
}

/** An empty schema in place of one that was moved aside would look as if everything were lost. */
async function refuseInPlaceOf(client: pg.ClientBase, schema: Schema): Promise<void> {
  const { rows } = await client.query<{ isAside: boolean }>(
    `select to_regnamespace($1) is null and to_regnamespace($2) is not null as "isAside"`,
    [schema, asideOf(schema)],
  );
  if (rows[0]?.isAside !== true) return;
  throw new Error(
    `a restore did not end, and what was there before it is in ${asideOf(schema)}: repeat npm run db:restore, or ` +
      `"alter schema ${asideOf(schema)} rename to ${schema}"`,
  );
}

/**
 * Takes from everybody what PostgreSQL gives by default and no service needs: temporary tables, and in databases that
 * were upgraded from before PostgreSQL 15 the right to create in `public`. Only the database's owner can do it; for
 * another login nothing changes.
 */
export async function restrictDatabase(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ name: string; isOwner: boolean }>(
    `select datname as name, pg_has_role(datdba, 'usage') as "isOwner" from pg_database where datname = current_database()`,
  );
  const database = rows[0];
  if (database?.isOwner !== true) return;
  await client.query(`revoke temporary on database ${pg.escapeIdentifier(database.name)} from public`);
  const { rowCount } = await client.query(
    "select from pg_namespace where nspname = 'public' and pg_has_role(nspowner, 'usage')",
  );
  if (rowCount === 1) await client.query("revoke create on schema public from public");
}

async function ensureRole(client: pg.ClientBase, role: string): Promise<void> {
  const { rowCount } = await client.query("select from pg_roles where rolname = $1", [role]);
  if (rowCount !== 0) return;
  try {
    await client.query(`create role ${pg.escapeIdentifier(role)} nologin`);
  } catch (error) {
    const code: unknown = error instanceof Error ? Reflect.get(error, "code") : undefined;
    // Made in the meantime by a migration of another database of this server.
    if (code === "42710" || code === "23505") return;
    throw explainDenial(error, role);
  }
}

function explainDenial(error: unknown, role: string): unknown {
  if (!(error instanceof Error) || Reflect.get(error, "code") !== "42501") return error;
  return new Error(
    `this login may not make or take the role ${role}: let an administrator run "create role ${role}; ` +
      `grant ${role} to <this login>" (without the create where it exists), or run db:migrate with a login that has ` +
      "createrole",
    { cause: error },
  );
}

/** Since PostgreSQL 16, who creates a role administers it but does not yet have its rights. */
async function ensureMembership(client: pg.ClientBase, role: string): Promise<void> {
  const { rows } = await client.query<{ member: boolean }>("select pg_has_role(current_user, $1, 'member') as member", [
    role,
  ]);
  const isSettable = rows[0]?.member === true && (await canSetRole(client, role));
  if (isSettable) return;
  try {
    await client.query(`grant ${pg.escapeIdentifier(role)} to current_user`);
  } catch (error) {
    throw explainDenial(error, role);
  }
}

async function canSetRole(client: pg.ClientBase, role: string): Promise<boolean> {
  try {
    await client.query(`set role ${pg.escapeIdentifier(role)}`);
    return true;
  } catch {
    return false;
  } finally {
    await client.query("reset role");
  }
}

/** Lets the application role log in. The server gets only a verifier, so that the password is in none of its logs. */
export async function setPassword(client: pg.ClientBase, role: string, password: string): Promise<void> {
  const verifier = pg.escapeLiteral(scramVerifier(password));
  await client.query(`alter role ${pg.escapeIdentifier(role)} login password ${verifier}`);
}

/** SCRAM-SHA-256 as PostgreSQL stores it (RFC 5803), for ASCII passwords. */
function scramVerifier(password: string): string {
  const iterations = 4_096;
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, iterations, 32, "sha256");
  const clientKey = createHmac("sha256", salted).update("Client Key").digest();
  const storedKey = createHash("sha256").update(clientKey).digest("base64");
  const serverKey = createHmac("sha256", salted).update("Server Key").digest("base64");
  return `SCRAM-SHA-256$${iterations}:${salt.toString("base64")}$${storedKey}:${serverKey}`;
}
