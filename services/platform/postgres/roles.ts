import type { CommonQueryMethods } from "slonik";
import { z } from "zod";
import type { Schema } from "#platform/config/service-config.ts";
import type { Logger } from "#platform/log/logger.ts";
import { DatabaseSetupError } from "./errors.ts";
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
