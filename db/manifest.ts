import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import type pg from "pg";
import { z } from "zod";

const tableContent = z.strictObject({ rows: z.string(), checksum: z.string() });

export const manifestSchema = z.strictObject({
  format: z.literal(1),
  createdAt: z.string(),
  serverVersion: z.string(),
  serverMajor: z.number(),
  schemas: z.record(
    z.string(),
    z.strictObject({
      file: z.string(),
      sha256: z.string(),
      migrations: z.array(z.string()),
      tables: z.record(z.string(), tableContent),
    }),
  ),
});

export type Manifest = z.output<typeof manifestSchema>;
export type TableContent = z.output<typeof tableContent>;

/** The tables of a schema; a partitioned one stands for its partitions. */
export async function tablesOf(client: pg.ClientBase, schema: string): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select c.relname::text as name from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition order by 1`,
    [schema],
  );
  return rows.map(({ name }) => name);
}

/**
 * Number of rows and a sum over their MD5s: independent of their order and of the version of PostgreSQL, so that it
 * tells whether a restored table is the one that was saved.
 */
export async function contentOf(client: pg.ClientBase, schema: string, table: string): Promise<TableContent> {
  const name = `${client.escapeIdentifier(schema)}.${client.escapeIdentifier(table)}`;
  const { rows } = await client.query<TableContent>(
    `select count(*)::text as rows,
       coalesce(sum(('x' || left(md5(t::text), 15))::bit(60)::bigint), 0)::text as checksum from ${name} as t`,
  );
  return rows[0] ?? { rows: "0", checksum: "0" };
}

/** What decides how a row reads as text, the same at both ends. */
export async function fixTextFormat(client: pg.ClientBase): Promise<void> {
  await client.query(
    "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set extra_float_digits = 1; set bytea_output = 'hex'",
  );
}

export async function fileChecksum(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
