import { existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import type pg from "pg";
import type { Schema } from "#platform/config/service-config.ts";
import { selectApplied } from "#platform/migrations/migrations.store.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { contentOf, fileChecksum, fixTextFormat, type Manifest, type TableContent, tablesOf } from "./manifest.ts";
import { type Program, programFor } from "./postgres-programs.ts";
import { programEnvironment, runProgram } from "./program-run.ts";
import { createProgress } from "./progress.ts";
import { UsageError } from "./target.ts";

export interface BackupOptions {
  readonly url: string;
  readonly folder: string;
  readonly schemas: readonly Schema[];
}

/**
 * Writes one archive per schema (pg_dump -Fc) and a manifest with versions, row counts and checksums, all of the same
 * moment: one snapshot serves the dumps of all schemas and the counts. The services go on working.
 *
 * The folder appears under its name only when it is complete.
 */
export async function backupSchemas({ url, folder, schemas }: BackupOptions): Promise<Manifest> {
  if (existsSync(folder)) throw new UsageError(`${folder} exists already: choose another folder with --out`);
  const client = await connectClient(url, { applicationName: "decentrastore db:backup" });
  const partial = `${folder}.partial`;
  try {
    const { number, version } = await serverVersion(client);
    const major = Math.floor(number / 10_000);
    const program = programFor("pg_dump", major);
    rmSync(partial, { recursive: true, force: true });
    mkdirSync(partial, { recursive: true, mode: 0o700 });
    await client.query("begin isolation level repeatable read read only");
    await fixTextFormat(client);
    const { rows } = await client.query<{ id: string }>("select pg_export_snapshot() as id");
    const source = { url, client, program, folder: partial, snapshot: rows[0]?.id ?? "" };
    const manifest: Manifest = {
      format: 1,
      createdAt: Temporal.Now.instant().toString({ smallestUnit: "second" }),
      serverVersion: version,
      serverMajor: major,
      schemas: {},
    };
    for (const schema of schemas) manifest.schemas[schema] = await backupSchema(source, schema);
    await client.query("commit");
    writeFileSync(path.join(partial, "manifest.json"), `${JSON.stringify(manifest, undefined, 2)}\n`, { mode: 0o600 });
    renameSync(partial, folder);
    return manifest;
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw error;
  } finally {
    await client.end();
  }
}

interface Source {
  readonly url: string;
  readonly client: pg.Client;
  readonly program: Program;
  readonly folder: string;
  readonly snapshot: string;
}

async function backupSchema({ url, client, program, folder, snapshot }: Source, schema: Schema) {
  const tables = await tablesOf(client, schema);
  if (tables.length === 0)
    throw new UsageError(`the schema ${schema} is empty or missing: there is nothing to back up`);
  const progress = createProgress(schema, 2 * tables.length);
  const file = `${schema}.dump`;
  const target = path.join(folder, file);
  const parameters = ["--format=custom", "--verbose", "--no-password", `--schema=${schema}`, `--snapshot=${snapshot}`];
  await runProgram(program.file, [...parameters, `--file=${target}`], programEnvironment(url), (line) => {
    const table = /dumping contents of table "?(\S+?)"?$/.exec(line)?.[1];
    if (table !== undefined) progress.step(`saving ${table}`);
  });
  const contents: Record<string, TableContent> = {};
  for (const table of tables) {
    contents[table] = await contentOf(client, schema, table);
    progress.step(`counting ${table}`);
  }
  const applied = await selectApplied(client, schema);
  progress.finish(`${tables.length} tables, ${statSync(target).size} bytes`);
  return {
    file,
    sha256: await fileChecksum(target),
    migrations: applied.map(({ name }) => name),
    tables: contents,
  };
}

export async function serverVersion(client: pg.ClientBase): Promise<{ number: number; version: string }> {
  const { rows } = await client.query<{ number: number; version: string }>(
    "select current_setting('server_version_num')::int as number, current_setting('server_version') as version",
  );
  return rows[0] ?? { number: 0, version: "unknown" };
}
