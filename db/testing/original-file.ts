import { execFile } from "node:child_process";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { z } from "zod";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import type { TestDatabase } from "#platform/testing/test-database.ts";

// Files as the original system left them, and the command that imports them.

/** Of the right form, and of no password. */
export const hash = `$2b$12$${"a".repeat(53)}`;
export const documentTable = `create table users (
  id INTEGER PRIMARY KEY AUTOINCREMENT, username VARCHAR(80) UNIQUE NOT NULL, email VARCHAR(120) UNIQUE,
  password_hash VARCHAR(255) NOT NULL, salt VARCHAR(32) NOT NULL, storage_used_bytes BIGINT DEFAULT 0,
  storage_quota_bytes BIGINT DEFAULT 10737418240, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, last_login TIMESTAMP,
  is_active BOOLEAN DEFAULT TRUE, is_admin BOOLEAN DEFAULT FALSE)`;
export const applicationTable = `create table users (
  id TEXT PRIMARY KEY, username TEXT, email TEXT, password_hash TEXT, key_salt TEXT, storage_used_bytes INTEGER,
  storage_quota_bytes INTEGER, created_at TEXT, last_login TEXT, is_active INTEGER, is_admin INTEGER)`;

let files = 0;

export function createFile(folder: string, ...statements: readonly string[]): string {
  files += 1;
  const file = path.join(folder, `users-${files}.db`);
  const source = new DatabaseSync(file);
  for (const statement of statements) source.exec(statement);
  source.close();
  return file;
}

export const manyUsers = (count: number) => `
  with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ${count})
  insert into users (username, email, password_hash, salt, storage_used_bytes)
  select 'user' || n, 'user' || n || '@example.com', '${hash}', 'salt', n from numbers`;

export function environmentOf(db: TestDatabase): NodeJS.ProcessEnv {
  return { ...process.env, DATABASE_URL: db.url() };
}

/** The command as an operator calls it: its exit code and what it printed. */
export async function runImport(
  db: TestDatabase,
  file: string,
  ...options: readonly string[]
): Promise<{ code: number; output: string }> {
  const parameters = ["db/import-sqlite.ts", file, ...options];
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, parameters, { env: environmentOf(db) });
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    const failed = z.object({ code: z.number(), stdout: z.string(), stderr: z.string() }).parse(error);
    return { code: failed.code, output: failed.stdout + failed.stderr };
  }
}

const countRow = z.strictObject({ n: zInt8 });
/** Users and events of the schema auth. */
export async function countsOf(db: TestDatabase) {
  const pool = await db.pool("auth");
  const users = await pool.oneFirst(sql.type(countRow)`select count(*) n from auth.users`);
  const events = await pool.oneFirst(sql.type(countRow)`select count(*) n from auth.outbox`);
  return { users: Number(users), events: Number(events) };
}
