import { z } from "zod";
import type { Schema } from "#platform/config/service-config.ts";
import { errorCodeOf } from "#platform/postgres/errors.ts";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";
import { type MigrationFile, readMigrations } from "./files.ts";

/** The database's schema and this code do not fit together; the message names the command that mends it. */
export class SchemaVersionError extends Error {
  override readonly name = "SchemaVersionError";
}

const appliedRow = z.strictObject({ version: z.number(), needs_code: z.number().nullable() });

/**
 * Makes sure that every migration this code knows has been applied. A newer schema is accepted, so that the database
 * can be migrated before the services, unless one of its migrations says `-- needs-code: N` and this code knows fewer.
 *
 * @throws SchemaVersionError
 */
export async function requireSchema(pool: Connection, schema: Schema, folder?: string): Promise<void> {
  const files = folder === undefined ? knownMigrations(schema) : readMigrations(schema, folder);
  const applied = await selectVersions(pool, schema);
  const known = new Set(applied.map(({ version }) => version));
  const missing = files.filter(({ version }) => !known.has(version));
  if (missing.length > 0) {
    throw new SchemaVersionError(
      `the schema ${schema} lacks ${missing.map(({ name }) => name).join(", ")}: run npm run db:migrate with an ` +
        "owner's DATABASE_URL",
    );
  }
  const codeVersion = Math.max(0, ...files.map(({ version }) => version));
  const tooNew = applied.find(({ needs_code }) => (needs_code ?? 0) > codeVersion);
  if (tooNew !== undefined) {
    throw new SchemaVersionError(
      `migration ${tooNew.version} of the schema ${schema} needs code that knows migration ${tooNew.needs_code}, this ` +
        `code knows ${codeVersion}: deploy a newer version of the service`,
    );
  }
}

const knownFiles = new Map<Schema, readonly MigrationFile[]>();

/** Read once: what this code knows is settled when it starts, also where files are replaced under a running process. */
function knownMigrations(schema: Schema): readonly MigrationFile[] {
  const files = knownFiles.get(schema) ?? readMigrations(schema);
  knownFiles.set(schema, files);
  return files;
}

async function selectVersions(pool: Connection, schema: Schema) {
  try {
    return await pool.any(sql.type(appliedRow)`
      select version, needs_code from ${sql.identifier([schema, "schema_migrations"])}`);
  } catch (error) {
    const code = errorCodeOf(error);
    // No such table or schema, or no right to look into it: in each case nobody has migrated for this login.
    if (code === "42P01" || code === "3F000" || code === "42501") {
      throw new SchemaVersionError(
        `the schema ${schema} is missing, or this login may not use it: run npm run db:migrate with an owner's ` +
          "DATABASE_URL",
        { cause: error },
      );
    }
    throw error;
  }
}
