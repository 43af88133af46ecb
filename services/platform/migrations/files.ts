import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Schema } from "#platform/config/service-config.ts";

export const schemas: readonly Schema[] = ["auth", "user_quota", "node_registry"];

export interface MigrationFile {
  readonly schema: Schema;
  readonly version: number;
  /** The file's name without its ending: 0001_platform. */
  readonly name: string;
  readonly file: string;
  readonly sql: string;
  /** SHA-256 of the text, in hex. */
  readonly checksum: string;
  /** `-- needs-code: N`: code that knows fewer than N migrations of this schema must not run on it. */
  readonly needsCode: number | undefined;
  /** `-- no-transaction`: statement by statement, for `create index concurrently`. */
  readonly isTransactional: boolean;
}

export const migrationsFolder = path.join(import.meta.dirname, "../../../db/migrations");

/**
 * The migrations of one schema in their order.
 *
 * @throws Error on a name that does not fit `NNNN_name.sql` and on a number used twice.
 */
export function readMigrations(schema: Schema, folder: string = migrationsFolder): readonly MigrationFile[] {
  const names = readdirSync(path.join(folder, schema)).filter((name) => name.endsWith(".sql"));
  const files = names.sort().map((name) => readMigration(schema, path.join(folder, schema, name)));
  for (const [index, { version, name }] of files.entries()) {
    const previous = files[index - 1];
    if (previous?.version === version) {
      throw new Error(`two migrations of ${schema} have the number ${version}: ${previous.name} and ${name}`);
    }
  }
  return files;
}

function readMigration(schema: Schema, file: string): MigrationFile {
  const name = path.basename(file, ".sql");
  const number = /^(\d{4})_[a-z0-9_]+$/.exec(name)?.[1];
  if (number === undefined) throw new Error(`${file} must be named like 0007_add_labels.sql`);
  // Line ends differ between checkouts, the migration does not.
  const text = readFileSync(file, "utf8").replaceAll("\r\n", "\n");
  const needsCode = /^-- needs-code: (\d+)$/m.exec(text)?.[1];
  return {
    schema,
    version: Number(number),
    name,
    file,
    sql: text,
    checksum: createHash("sha256").update(text).digest("hex"),
    needsCode: needsCode === undefined ? undefined : Number(needsCode),
    isTransactional: !/^-- no-transaction$/m.test(text),
  };
}
