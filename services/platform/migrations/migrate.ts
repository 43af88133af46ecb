import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import type { Schema } from "#platform/config/service-config.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { adviceOf } from "#platform/postgres/setup-errors.ts";
import { type MigrationFile, readMigrations, schemas } from "./files.ts";
import { type AppliedMigration, ensureMigrationsTable, insertApplied, selectApplied } from "./migrations.store.ts";
import { ensureSchema, restrictDatabase, setPassword } from "./roles.ts";

export interface MigrateOptions {
  /** A login that may create roles and schemas, or that has the roles `<schema>_owner`. */
  readonly url: string;
  readonly schemas?: readonly Schema[];
  readonly folder?: string;
  /** Lets these application roles log in with a password. */
  readonly appPasswords?: Partial<Record<Schema, string>>;
  readonly onProgress?: (message: string) => void;
  /** How often a file that does not get its lock is tried; 20 by default. */
  readonly lockAttempts?: number;
}

/** A migration failed or does not fit what was applied before; the message names the file and the cure. */
export class MigrationError extends Error {
  override readonly name = "MigrationError";
}

/** Any number that nothing else uses: one migration at a time per database. */
const lockKey = 4_713_308_155;

/**
 * Brings the schemas up to date: each file once, in the order of its number, in one transaction, as the schema's owner.
 * Started several times at once, one works and the others wait and then find nothing to do. A file that waits too long
 * for a lock is rolled back and tried again, so that it never stands in the way of the services for long.
 *
 * An own runner instead of node-pg-migrate, because that one keeps no checksums (an edited file would go unnoticed),
 * runs everything as the login instead of the owner of each schema, and has no note of which code a migration needs.
 *
 * @returns the files that were applied now.
 * @throws MigrationError; whatever was applied before the failing file stays.
 */
export async function migrate(options: MigrateOptions): Promise<readonly MigrationFile[]> {
  const wanted = options.schemas ?? schemas;
  const files = wanted.map((schema) => ({ schema, all: readMigrations(schema, options.folder) }));
  const client = await connectClient(options.url, { applicationName: "decentrastore db:migrate" });
  try {
    await waitForLock(client, options.onProgress);
    await restrictDatabase(client);
    const done: MigrationFile[] = [];
    for (const { schema, all } of files) {
      done.push(...(await migrateSchema(client, schema, all, options)));
      const password = options.appPasswords?.[schema];
      if (password !== undefined) await setPassword(client, `${schema}_app`, password);
    }
    return done;
  } finally {
    await client.end();
  }
}

async function waitForLock(client: pg.ClientBase, onProgress?: (message: string) => void): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const { rows } = await client.query<{ locked: boolean }>("select pg_try_advisory_lock($1) as locked", [lockKey]);
    if (rows[0]?.locked === true) return;
    if (attempt === 0) onProgress?.("another migration is running, waiting for it");
    await delay(100);
  }
}

async function migrateSchema(
  client: pg.ClientBase,
  schema: Schema,
  files: readonly MigrationFile[],
  options: MigrateOptions,
): Promise<readonly MigrationFile[]> {
  await ensureSchema(client, schema);
  await client.query(`set role ${pg.escapeIdentifier(`${schema}_owner`)}`);
  try {
    await ensureMigrationsTable(client, schema);
    const applied = await selectApplied(client, schema);
    const pending = pendingOf(files, applied);
    for (const file of pending) {
      const durationMs = await applyWithPatience(client, file, options);
      options.onProgress?.(`${schema} ${file.name} (${Math.round(durationMs)} ms)`);
    }
    return pending;
  } finally {
    await client.query("reset role");
  }
}

/**
 * The files that are missing in the database. Files that it has and that this code does not know are left alone: they
 * belong to newer code.
 *
 * @throws MigrationError when an applied file was edited afterwards.
 */
export function pendingOf(files: readonly MigrationFile[], applied: readonly AppliedMigration[]) {
  const checksums = new Map(applied.map(({ version, checksum }) => [version, checksum]));
  for (const file of files) {
    const checksum = checksums.get(file.version);
    if (checksum === undefined || checksum === file.checksum) continue;
    throw new MigrationError(
      `${file.schema}/${file.name}.sql was changed after it had been applied: restore it and put the change into a ` +
        "new file (npm run db:new)",
    );
  }
  return files.filter(({ version }) => !checksums.has(version));
}

async function applyWithPatience(client: pg.ClientBase, file: MigrationFile, options: MigrateOptions) {
  const { onProgress, lockAttempts = 20 } = options;
  for (let attempt = 1; ; attempt += 1) {
    const startedAt = performance.now();
    try {
      await (file.isTransactional ? applyInTransaction(client, file) : applyStatements(client, file));
      return performance.now() - startedAt;
    } catch (error) {
      const isLocked = error instanceof Error && Reflect.get(error, "code") === "55P03";
      if (!isLocked || attempt >= lockAttempts) throw failureOf(file, error);
      onProgress?.(`${file.schema} ${file.name} waits for a lock (attempt ${attempt})`);
      await delay(Math.min(5_000, 100 * 2 ** attempt) * (0.5 + Math.random() / 2));
    } finally {
      // A file may set timeouts for the session.
      await client.query("reset lock_timeout; reset statement_timeout; reset search_path");
    }
  }
}

async function applyInTransaction(client: pg.ClientBase, file: MigrationFile): Promise<void> {
  const startedAt = performance.now();
  await client.query("begin; set local lock_timeout = '5s'");
  try {
    await client.query(file.sql);
    await insertApplied(client, file, performance.now() - startedAt);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback");
    throw error;
  }
}

/** Statements end with a semicolon at the end of a line; they must bear being repeated, because a failure undoes nothing. */
async function applyStatements(client: pg.ClientBase, file: MigrationFile): Promise<void> {
  const startedAt = performance.now();
  const statements = file.sql.split(/;[ \t]*(?:\n|$)/).filter((text) => text.replace(/^\s*--.*$/gm, "").trim() !== "");
  for (const statement of statements) await client.query(statement);
  await insertApplied(client, file, performance.now() - startedAt);
}

function failureOf(file: MigrationFile, error: unknown): MigrationError {
  const position = error instanceof Error ? Number(Reflect.get(error, "position")) : Number.NaN;
  const line = Number.isInteger(position) ? `:${file.sql.slice(0, position).split("\n").length}` : "";
  const message = error instanceof Error ? error.message : String(error);
  // A lock is the one thing that a correct file may fail of; for everything else the server's own words say it.
  const isLocked = error instanceof Error && Reflect.get(error, "code") === "55P03";
  const cure = isLocked ? ` (${adviceOf(error)})` : "";
  return new MigrationError(`${file.schema}/${file.name}.sql${line}: ${message}${cure}`, { cause: error });
}
