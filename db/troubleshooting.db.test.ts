import { execFile } from "node:child_process";
import { existsSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { DatabaseUrl } from "#platform/config/secret.ts";
import { migrate } from "#platform/migrations/migrate.ts";
import { requireSchema } from "#platform/migrations/require-schema.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { openPool, type PoolOptions } from "#platform/postgres/pool.ts";
import { adviceOf } from "#platform/postgres/setup-errors.ts";
import { sql } from "#platform/postgres/sql.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { createTestLogger } from "#platform/testing/test-database.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../services/dev/embedded-postgres.ts";

// Each row of the table "Troubleshooting" in README.md is provoked on a real server; what an operator then reads is
// compared with the row, word by word.

const folder = createTempFolder();
let server: EmbeddedPostgres;
let admin: pg.Client;

beforeAll(async () => {
  const settings = { max_connections: "12", superuser_reserved_connections: "3" };
  server = await startEmbeddedPostgres({ folder: folder.path, fsync: false, settings });
  admin = await connectClient(server.url, { applicationName: "test" });
});

afterAll(async () => {
  await admin.end();
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

function urlWith(changes: Partial<Pick<URL, "hostname" | "port" | "username" | "password" | "pathname" | "search">>) {
  return Object.assign(new URL(server.url), changes).href;
}

/** What `npm run db:check` says, or another command. */
async function command(url: string, script = "db/check.ts"): Promise<string> {
  const env = { ...process.env, DATABASE_URL: url, DECENTRASTORE_HOME: "/nowhere" };
  const failed = z.object({ stdout: z.string(), stderr: z.string() });
  return promisify(execFile)(process.execPath, [script], { env }).then(
    ({ stdout, stderr }) => stdout + stderr,
    (error: unknown) => {
      const { stdout, stderr } = failed.parse(error);
      return stdout + stderr;
    },
  );
}

/** What a service says at its start. */
async function start(options: Partial<PoolOptions> = {}): Promise<string> {
  const url = new DatabaseUrl(server.url, true);
  try {
    const log = createTestLogger();
    const pool = await openPool({ url, schema: "auth", log, poolSize: 1, startTimeoutMs: 0, ...options });
    await requireSchema(pool, "auth").finally(() => pool.end());
    return "";
  } catch (error) {
    return String(error);
  }
}

/** What stands beside an error of a running service. */
async function failure(work: () => Promise<unknown>): Promise<string> {
  const error = await work().then(
    () => "nothing failed",
    (reason: unknown) => reason,
  );
  return `${adviceOf(error) ?? ""} ${error}`;
}

/** Every write to this table's file meets a full disk: /dev/full takes nothing. Elsewhere the server is made to say so. */
async function fillDisk(): Promise<string> {
  await admin.query("create table full_disk (n int)");
  if (!existsSync("/dev/full")) {
    await admin.query(`
      create function no_space() returns trigger language plpgsql
      as $$ begin raise exception 'No space left on device' using errcode = '53100'; end $$;
      create trigger no_space before insert on full_disk for each row execute function no_space()`);
    return await failure(() => admin.query("insert into full_disk values (1)"));
  }
  const { rows } = await admin.query<{ file: string }>("select pg_relation_filepath('full_disk') as file");
  const file = path.join(folder.path, "data", rows[0]?.file ?? "");
  await admin.query("checkpoint");
  rmSync(file);
  symlinkSync("/dev/full", file);
  const client = await connectClient(server.url, { applicationName: "test" });
  const said = await failure(() => client.query("insert into full_disk values (1)"));
  await client.end();
  return said;
}

async function takeAllConnections(): Promise<string> {
  await admin.query("create role crowd login password 'crowd'");
  const url = urlWith({ username: "crowd", password: "crowd" });
  const clients: pg.Client[] = [];
  try {
    return await failure(async () => {
      while (clients.length < 20) clients.push(await connectClient(url, { applicationName: "crowd" }));
    });
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

async function holdLock(): Promise<string> {
  const holder = await connectClient(server.url, { applicationName: "holder" });
  await holder.query("begin; lock table auth.schema_migrations in access exclusive mode");
  try {
    return await failure(() => admin.query("set lock_timeout = '50ms'; select from auth.schema_migrations"));
  } finally {
    await admin.query("reset lock_timeout");
    await holder.end();
  }
}

async function exhaustPool(): Promise<string> {
  const log = createTestLogger();
  const pool = await openPool({ url: server.url, schema: "auth", log, poolSize: 1, maxOverflow: 0, waitMs: 50 });
  try {
    return await failure(() => pool.connect(() => pool.query(sql.unsafe`select 1`)));
  } finally {
    await pool.end();
  }
}

/** Before the first migration, and then on a whole database: what to provoke, in this order. */
const beforeMigration: Readonly<Record<string, () => Promise<string>>> = {
  "nothing listens at": () => command(urlWith({ port: "1" })),
  "the host name of": () => command(urlWith({ hostname: "nowhere.invalid" })),
  "the database refuses the password": () => command(urlWith({ password: "wrong" })),
  "the database refuses this login": async () => {
    await admin.query("create role nobody nologin password 'nobody'");
    return command(urlWith({ username: "nobody", password: "nobody" }));
  },
  "the database named in the URL": () => command(urlWith({ pathname: "/nothing" })),
  "the server offers no TLS": () => command(urlWith({ search: "?sslmode=require" })),
  "the role <role> does not exist": () => start(),
  "the schema auth is missing": () => start({ url: server.url }),
  "a table or schema is missing": () => failure(() => admin.query("select from auth.users")),
};
const afterMigration: Readonly<Record<string, () => Promise<string>>> = {
  "the schema auth lacks": async () => {
    await admin.query("delete from auth.schema_migrations where version = 7");
    return start();
  },
  "the login may not take the role": async () => {
    await admin.query("create role stranger login password 'stranger'");
    return start({ url: new DatabaseUrl(urlWith({ username: "stranger", password: "stranger" }), true) });
  },
  "the login lacks rights": async () => {
    await admin.query("revoke connect on database decentrastore from public");
    return command(urlWith({ username: "stranger", password: "stranger" }));
  },
  "the server has no connection left": async () => {
    await admin.query("grant connect on database decentrastore to public");
    return takeAllConnections();
  },
  "no database connection became free": exhaustPool,
  "the server's disk is full": fillDisk,
  "a lock was not granted": holdLock,
  "a statement took too long": async () => {
    await admin.query("set statement_timeout = '20ms'");
    return failure(() => admin.query("select pg_sleep(10)")).finally(() => admin.query("reset statement_timeout"));
  },
  "this server is a read-only": () =>
    failure(() => admin.query("begin read only; create table x ()")).finally(() => admin.query("rollback")),
  "the server is starting": async () => {
    const client = await connectClient(server.url, { applicationName: "victim" });
    const asked = failure(() => client.query("select pg_sleep(60)"));
    const victims = "select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(60)'";
    while ((await admin.query(victims)).rowCount === 0);
    return asked.finally(() => client.end());
  },
};

/** Rows that other tests provoke, because they need another kind of server: by the test's file. */
const elsewhere: Readonly<Record<string, string>> = {
  "the server's certificate is not trusted": "services/platform/postgres/tls.db.test.ts",
  "a connection pooler refuses": "services/platform/postgres/pool-setup.db.test.ts",
  "migration 9 of the schema": "services/platform/migrations/migrate.db.test.ts",
  "auth/0007_....sql was changed": "services/platform/migrations/migrate.db.test.ts",
  "pg_dump of version": "db/backup.db.test.ts",
  "a restore did not end": "db/backup.db.test.ts",
  "an earlier restore did not end": "db/backup.db.test.ts",
};

const readme = readFileSync(path.join(import.meta.dirname, "README.md"), "utf8");
const [table = ""] = readme.slice(readme.indexOf("## Troubleshooting")).split("\n## Data migration");
const rows = [...table.matchAll(/^\| `([^`]+)` +\|/gm)].map(([, text]) => text ?? "");

/** A row as a pattern: what differs from case to case stands for anything. */
function patternOf(row: string): RegExp {
  const escaped = RegExp.escape(row);
  return new RegExp(escaped.replace(/<role>|\\x3crole\\x3e|0007_\\\.\\\.\\\.|5000|\b18\b/g, ".+"));
}

async function provoke(cases: Readonly<Record<string, () => Promise<string>>>): Promise<void> {
  for (const [beginning, provoked] of Object.entries(cases)) {
    const row = rows.find((text) => text.startsWith(beginning));
    expect(row, `the page has no row "${beginning}..."`).toBeDefined();
    expect(await provoked()).toMatch(patternOf(row ?? ""));
  }
}

test("every trouble of the operators' page is provoked, and says what the page says", {
  timeout: 180_000,
}, async () => {
  await provoke(beforeMigration);
  await migrate({ url: server.url });
  await provoke(afterMigration);
  const known = [beforeMigration, afterMigration, elsewhere].flatMap((cases) => Object.keys(cases));
  expect(rows.filter((row) => !known.some((beginning) => row.startsWith(beginning)))).toEqual([]);
  for (const file of Object.values(elsewhere))
    expect(existsSync(path.join(import.meta.dirname, "..", file))).toBe(true);
});
