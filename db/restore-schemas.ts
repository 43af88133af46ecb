import { readFileSync } from "node:fs";
import path from "node:path";
import type pg from "pg";
import type { Schema } from "#platform/config/service-config.ts";
import { schemas as allSchemas } from "#platform/migrations/files.ts";
import { asideOf, ensureSchema } from "#platform/migrations/roles.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { serverVersion } from "./backup-schemas.ts";
import { contentOf, fileChecksum, fixTextFormat, type Manifest, manifestSchema, tablesOf } from "./manifest.ts";
import { programFor } from "./postgres-programs.ts";
import { programEnvironment, runProgram } from "./program-run.ts";
import { createProgress } from "./progress.ts";
import { UsageError } from "./target.ts";

export interface RestoreOptions {
  readonly url: string;
  readonly folder: string;
  /** All that the backup holds by default. */
  readonly schemas?: readonly Schema[];
  /** Replace schemas that hold tables, and end the services' sessions. */
  readonly isForced: boolean;
  /** Gives up, and leaves everything as it was. */
  readonly signal?: AbortSignal;
}

/**
 * Brings schemas back from a backup. What is there is moved aside first and dropped only when the restored tables of all
 * schemas have the row counts and checksums of the manifest; on any failure all of it is moved back, and after a `kill -9`
 * by the next attempt.
 *
 * @returns the schemas that were restored.
 */
export async function restoreSchemas(options: RestoreOptions): Promise<readonly Schema[]> {
  const manifest = readManifest(options.folder);
  const wanted = (options.schemas ?? allSchemas).filter((schema) => manifest.schemas[schema] !== undefined);
  if (wanted.length === 0) throw new UsageError(`${options.folder} holds none of the wanted schemas`);
  for (const schema of wanted) await checkArchive(options.folder, manifest, schema);
  const client = await connectClient(options.url, { applicationName: "decentrastore db:restore" });
  try {
    const { number, version } = await serverVersion(client);
    if (Math.floor(number / 10_000) < manifest.serverMajor) {
      throw new UsageError(
        `the backup is of PostgreSQL ${manifest.serverVersion}, and this server is older: ${version}`,
      );
    }
    await claimRestore(client);
    for (const schema of wanted) await bringBack(client, schema);
    for (const schema of wanted) await checkTarget(client, schema, options.isForced);
    await replaceSchemas(client, options, manifest, wanted);
    return wanted;
  } finally {
    await client.end();
  }
}

function readManifest(folder: string): Manifest {
  const file = path.join(folder, "manifest.json");
  try {
    return manifestSchema.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new UsageError(`${file} is not the manifest of a backup`, { cause });
  }
}

async function checkArchive(folder: string, manifest: Manifest, schema: Schema): Promise<void> {
  const saved = manifest.schemas[schema];
  if (saved === undefined) return;
  const found = await fileChecksum(path.join(folder, saved.file));
  if (found !== saved.sha256) throw new UsageError(`${saved.file} was changed or damaged after the backup`);
}

/** Nothing is touched before all schemas were looked at. */
async function checkTarget(client: pg.ClientBase, schema: Schema, isForced: boolean): Promise<void> {
  const tables = await tablesOf(client, schema);
  if (tables.length > 0 && !isForced) {
    throw new UsageError(`the schema ${schema} has ${tables.length} tables: repeat with --force to replace it`);
  }
  // A service that shares a login is known by the name that its pool gives itself.
  const sessions =
    "from pg_stat_activity where datname = current_database() and (usename = $1 or application_name = $2)";
  const service = [`${schema}_app`, `decentrastore ${schema}`];
  const { rowCount } = await client.query(`select ${sessions}`, service);
  if (rowCount === 0) return;
  if (!isForced) throw new UsageError(`the service of ${schema} has ${rowCount} open sessions: stop it first`);
  await client.query(`select pg_terminate_backend(pid) ${sessions}`, service);
}

/** Two restores at once would each take the other's half for what was there before. */
async function claimRestore(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ isClaimed: boolean }>(
    `select pg_try_advisory_lock(hashtext('decentrastore db:restore')) as "isClaimed"`,
  );
  if (rows[0]?.isClaimed !== true) throw new UsageError("another restore into this database is running: wait for it");
}

/**
 * Undoes a restore that was killed: what it had moved aside goes back where nothing has taken its place since. Where
 * something has, only a person knows which of the two counts.
 */
async function bringBack(client: pg.ClientBase, schema: Schema): Promise<void> {
  const aside = asideOf(schema);
  if ((await tablesOf(client, aside)).length > 0) {
    if ((await tablesOf(client, schema)).length > 0) {
      throw new UsageError(
        `an earlier restore did not end: ${aside} holds what was there before it, and ${schema} has tables too. Drop the ` +
          'one that does not count ("drop schema ... cascade") and repeat',
      );
    }
    await moveBack(client, schema);
    console.log(`brought back the schema ${schema}, which a restore that did not end had moved aside`);
  }
  await client.query(`drop schema if exists ${aside} cascade`);
}

async function moveBack(client: pg.ClientBase, schema: Schema): Promise<void> {
  await client.query(
    `begin; drop schema if exists ${schema} cascade; alter schema ${asideOf(schema)} rename to ${schema}; commit`,
  );
}

async function replaceSchemas(
  client: pg.Client,
  options: RestoreOptions,
  manifest: Manifest,
  wanted: readonly Schema[],
): Promise<void> {
  const movedAside: Schema[] = [];
  try {
    for (const schema of wanted) {
      await ensureSchema(client, schema);
      await client.query(`alter schema ${schema} rename to ${asideOf(schema)}`);
      movedAside.push(schema);
      await restoreSchema(client, options, manifest, schema);
    }
    options.signal?.throwIfAborted();
  } catch (error) {
    for (const schema of movedAside) await moveBack(client, schema);
    throw error;
  }
  for (const schema of wanted) await client.query(`drop schema ${asideOf(schema)} cascade`);
}

async function restoreSchema(client: pg.Client, options: RestoreOptions, manifest: Manifest, schema: Schema) {
  const saved = manifest.schemas[schema];
  if (saved === undefined) return;
  const program = programFor("pg_restore", manifest.serverMajor);
  const archive = path.join(options.folder, saved.file);
  const progress = createProgress(schema, 2 * Object.keys(saved.tables).length);
  const parameters = ["--verbose", "--no-password", "--exit-on-error", "--single-transaction"];
  const env = programEnvironment(options.url);
  const onLine = (line: string) => {
    const table = /processing data for table "?(\S+?)"?$/.exec(line)?.[1];
    if (table !== undefined) progress.step(`restoring ${table}`);
  };
  await runProgram(program.file, [...parameters, `--dbname=${env.PGDATABASE}`, archive], env, onLine, options.signal);
  await verify(client, schema, saved.tables, (table) => {
    options.signal?.throwIfAborted();
    progress.step(`checking ${table}`);
  });
  await skipOutboxIds(client, schema);
  progress.finish(`${Object.keys(saved.tables).length} tables restored and verified`);
}

/** More than any outbox drew since its backup: half a year at 5,000 events a second. */
const SKIPPED_IDS = 100_000_000_000n;

/**
 * Events that were made after the backup may have been heard by consumers, which remember how far they came by these ids.
 * Drawn a second time, what is new would look old to them.
 */
async function skipOutboxIds(client: pg.ClientBase, schema: Schema): Promise<void> {
  await client.query(`select setval('${schema}.outbox_id', last_value + ${SKIPPED_IDS}) from ${schema}.outbox_id`);
}

type SavedTables = Manifest["schemas"][string]["tables"];

async function verify(client: pg.Client, schema: Schema, tables: SavedTables, onTable: (table: string) => void) {
  await fixTextFormat(client);
  const different: string[] = [];
  for (const [table, saved] of Object.entries(tables)) {
    const found = await contentOf(client, schema, table);
    if (found.rows !== saved.rows) different.push(`${table} has ${found.rows} rows instead of ${saved.rows}`);
    else if (found.checksum !== saved.checksum) different.push(`${table} has other contents`);
    onTable(table);
  }
  if (different.length > 0) {
    throw new Error(`${schema} is not what was saved, the schema is as before: ${different.join("; ")}`);
  }
}
