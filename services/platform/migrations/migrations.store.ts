import type pg from "pg";
import type { Schema } from "#platform/config/service-config.ts";
import type { MigrationFile } from "./files.ts";

export interface AppliedMigration {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
  readonly appliedAt: Temporal.Instant;
}

export async function ensureMigrationsTable(client: pg.ClientBase, schema: Schema): Promise<void> {
  await client.query(`
    create table if not exists ${schema}.schema_migrations (
      version integer not null,
      name text not null,
      checksum text not null,
      needs_code integer,
      applied_at timestamptz not null default now(),
      duration_ms integer not null,
      constraint schema_migrations__pkey primary key (version)
    )`);
  await client.query(`grant select on ${schema}.schema_migrations to ${schema}_app`);
}

/** Nothing where the schema or its table does not exist yet. */
export async function selectApplied(client: pg.ClientBase, schema: Schema): Promise<readonly AppliedMigration[]> {
  const { rows } = await client.query<{ found: string | null }>("select to_regclass($1)::text as found", [
    `${schema}.schema_migrations`,
  ]);
  if (rows[0]?.found == null) return [];
  const applied = await client.query<AppliedMigration>(
    `select version, name, checksum, applied_at as "appliedAt" from ${schema}.schema_migrations order by version`,
  );
  return applied.rows;
}

export async function insertApplied(
  client: pg.ClientBase,
  migration: MigrationFile,
  durationMs: number,
): Promise<void> {
  await client.query(
    `insert into ${migration.schema}.schema_migrations (version, name, checksum, needs_code, duration_ms)
     values ($1, $2, $3, $4, $5)`,
    [migration.version, migration.name, migration.checksum, migration.needsCode ?? null, Math.round(durationMs)],
  );
}
