import type { CommonQueryMethods } from "slonik";
import { z } from "zod";
import type { Schema } from "#platform/config/service-config.ts";
import type { Logger } from "#platform/log/logger.ts";
import { DatabaseSetupError, errorCodeOf } from "./errors.ts";
import { sql } from "./sql.ts";

/** A startup option, so that every connection has the role before its first statement and `reset role` keeps it. */
export function roleOption(schema: Schema): string {
  return `-c role=${schema}_app`;
}

const roleRow = z.strictObject({ current: z.string(), session: z.string(), powers: z.array(z.string()) });

/**
 * Makes sure that the pool acts with the rights of the service's application role, and says so where it has more.
 *
 * @throws DatabaseSetupError when the role was asked for and a pooler in between dropped the request.
 */
export async function checkRole(pool: CommonQueryMethods, schema: Schema, assumeRole: boolean, log: Logger) {
  const app = `${schema}_app`;
  const { current, session, powers } = await pool.one(sql.type(roleRow)`
    select current_user::text as current, session_user::text as session, array(
      select rolname::text from pg_roles
      where (rolname = current_user and rolsuper)
        or (rolname = ${`${schema}_owner`} and pg_has_role(current_user, oid, 'usage'))
    ) as powers`);
  if (assumeRole && current !== app) {
    throw new DatabaseSetupError(
      `the connection does not have the role ${app}: something between here and the server, such as PgBouncer, drops ` +
        `startup options. Give this service its own database URL with the login ${app}, or connect directly.`,
    );
  }
  if (assumeRole) {
    log.warn(
      { login: session, role: current },
      "the service shares a login and gives up its rights by a role; an own login for each service is stronger",
    );
  } else if (powers.length > 0) {
    log.warn({ login: current, wanted: app }, "the database login has more rights than the service needs");
  }
}

/** Why the first connection failed, with the cure, where the reason is known. */
export function setupErrorOf(cause: unknown, schema: Schema): unknown {
  const message = setupMessageOf(cause, `${schema}_app`);
  return message === undefined ? cause : new DatabaseSetupError(message, { cause });
}

function setupMessageOf(error: unknown, app: string): string | undefined {
  if (!(error instanceof Error) || error instanceof DatabaseSetupError) return undefined;
  const messages: string[] = [];
  for (let current: unknown = error; current instanceof Error; current = current.cause) messages.push(current.message);
  const text = messages.join("\n");
  const known = setupMessages(app).find(({ code, pattern }) =>
    pattern === undefined ? errorCodeOf(error) === code : pattern.test(text),
  );
  return known?.message;
}

function setupMessages(app: string): readonly { code?: string; pattern?: RegExp; message: string }[] {
  return [
    {
      pattern: /role "[^"]*_app" does not exist|invalid value for parameter "role"/,
      message: `the role ${app} does not exist in this database: run npm run db:migrate with an owner's DATABASE_URL`,
    },
    {
      pattern: /permission denied to set (role|parameter "role")/,
      message: `the login may not take the role ${app}: grant ${app} to it, or give the service a URL with the login ${app}`,
    },
    {
      pattern: /unsupported startup parameter/,
      message:
        "a connection pooler refuses our startup parameters: add options, statement_timeout and " +
        "idle_in_transaction_session_timeout to its ignore_startup_parameters and give the service a database URL " +
        `with the login ${app}, or connect directly`,
    },
    {
      pattern: /server does not support SSL/,
      message:
        "the server offers no TLS: enable it there, or add sslmode=disable to the database URL on a trusted network",
    },
    {
      pattern:
        /self[- ]signed certificate|unable to (get|verify)|certificate has expired|not yet valid|altnames|issuer/i,
      message:
        "the server's certificate is not trusted: give its authority by sslrootcert, check the host name " +
        "(verify-full compares it), or use sslmode=require to encrypt without checking",
    },
    {
      code: "28P01",
      message: "the database refuses the password of this login: check the user and password of the URL",
    },
    { code: "28000", message: "the database refuses this login from here: check the user, pg_hba.conf and sslmode" },
    {
      code: "3D000",
      message: "the database named in the URL does not exist: create it with createdb, or correct the name",
    },
    { code: "42501", message: `the login lacks rights: it must be able to connect and to act as ${app}` },
    {
      code: "ENOTFOUND",
      message: "the host name of the database URL cannot be resolved: check its spelling and the DNS",
    },
    {
      code: "ECONNREFUSED",
      message: "nothing listens at the host and port of the database URL: is PostgreSQL running?",
    },
  ];
}
