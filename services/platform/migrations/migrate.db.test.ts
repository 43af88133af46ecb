import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import pg from "pg";
import { expect, test } from "vitest";
import { startEmbeddedPostgres } from "../../dev/embedded-postgres.ts";
import type { Schema } from "../config/service-config.ts";
import { createTempFolder } from "../testing/temp-folder.ts";
import { createTestDatabase, type TestDatabase } from "../testing/test-database.ts";
import { readMigrations } from "./files.ts";
import { migrate } from "./migrate.ts";
import { requireSchema } from "./require-schema.ts";

const auth: readonly Schema[] = ["auth"];

/** A folder of migrations for `auth`, and functions on an empty database. */
async function createSandbox(files: Record<string, string>) {
  const folder = createTempFolder();
  const db = await createTestDatabase({ isEmpty: true });
  mkdirSync(path.join(folder.path, "auth"));
  const write = (name: string, text: string) => writeFileSync(path.join(folder.path, "auth", `${name}.sql`), text);
  for (const [name, text] of Object.entries(files)) write(name, text);
  return {
    db,
    folder: folder.path,
    write,
    migrate: (onProgress?: (line: string) => void) =>
      migrate({ url: db.url(), schemas: auth, folder: folder.path, ...(onProgress && { onProgress }) }),
    [Symbol.asyncDispose]: async () => {
      await db[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function query(db: TestDatabase, text: string): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: db.url() });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

test("several migrators at once apply each file once, and all of them end well", async () => {
  await using db = await createTestDatabase({ isEmpty: true });
  const results = await Promise.all(Array.from({ length: 4 }, () => migrate({ url: db.url(), schemas: auth })));
  const counts = results.map((applied) => applied.length).sort((a, b) => b - a);
  expect(counts[0]).toBeGreaterThan(3);
  expect(counts.slice(1)).toEqual([0, 0, 0]);
});

test("files run in their order as the owner, and a second run does nothing", async () => {
  await using sandbox = await createSandbox({
    "0002_more": "alter table auth.a add column more int;",
    "0001_first": "create table auth.a (id int);",
  });
  expect((await sandbox.migrate()).map(({ name }) => name)).toEqual(["0001_first", "0002_more"]);
  expect(await sandbox.migrate()).toEqual([]);
  expect(await query(sandbox.db, "select tableowner from pg_tables where tablename = 'a'")).toEqual([
    { tableowner: "auth_owner" },
  ]);
});

test("an edited file is refused by name, another way to end its lines is not", async () => {
  await using sandbox = await createSandbox({ "0001_first": "create table auth.a (\n  id int\n);\n" });
  await sandbox.migrate();
  sandbox.write("0001_first", "create table auth.a (\r\n  id int\r\n);\r\n");
  await sandbox.migrate();
  sandbox.write("0001_first", "create table auth.a (\n  id bigint\n);\n");
  await expect(sandbox.migrate()).rejects.toThrow(/auth\/0001_first.sql was changed after .*db:new/);
});

test("a failing file leaves nothing behind, names its line, and what came before stays", async () => {
  await using sandbox = await createSandbox({
    "0001_first": "create table auth.a (id int);",
    "0002_broken":
      "create table auth.b (id int);\n\nalter table auth.a add column id int;\nselect x from auth.nothing;",
  });
  await expect(sandbox.migrate()).rejects.toThrow(/auth\/0002_broken.sql.*already exists/);
  sandbox.write("0002_broken", "create table auth.b (id int);\nselect\n x from auth.nothing;");
  await expect(sandbox.migrate()).rejects.toThrow(/0002_broken.sql:3: .*auth.nothing/);
  expect(await query(sandbox.db, "select version from auth.schema_migrations")).toEqual([{ version: 1 }]);
  expect(await query(sandbox.db, "select to_regclass('auth.b') as b")).toEqual([{ b: null }]);
});

test("a file that meets a lock gives way and comes back until it gets it", async () => {
  await using sandbox = await createSandbox({ "0001_first": "create table auth.a (id int);" });
  await sandbox.migrate();
  sandbox.write("0002_more", "set local lock_timeout = '50ms'; alter table auth.a add column more int;");
  const reader = new pg.Client({ connectionString: sandbox.db.url() });
  await reader.connect();
  await reader.query("begin; select * from auth.a");
  const progress: string[] = [];
  const migrating = sandbox.migrate((line) => {
    progress.push(line);
    if (progress.length === 2) void reader.query("commit");
  });
  expect(await migrating).toHaveLength(1);
  expect(progress[0]).toMatch(/waits for a lock/);
  await reader.end();
});

test("a file without a transaction may build an index concurrently", async () => {
  await using sandbox = await createSandbox({
    "0001_first": "create table auth.a (id int);",
    "0002_index":
      "-- no-transaction\ndrop index concurrently if exists auth.a_id;\n-- why;\ncreate index concurrently a_id\n  on auth.a (id);\n",
  });
  expect(await sandbox.migrate()).toHaveLength(2);
  expect(await query(sandbox.db, "select indexname from pg_indexes where tablename = 'a'")).toHaveLength(1);
});

test("a file with a lower number than one that was applied is applied late", async () => {
  await using sandbox = await createSandbox({ "0003_c": "create table auth.c ();" });
  await sandbox.migrate();
  sandbox.write("0002_b", "create table auth.b ();");
  expect((await sandbox.migrate()).map(({ version }) => version)).toEqual([2]);
});

test("names that do not fit and numbers used twice are refused", async () => {
  await using sandbox = await createSandbox({ "0001_a": "select 1;", "0001_b": "select 1;" });
  expect(() => readMigrations("auth", sandbox.folder)).toThrow(/two migrations of auth have the number 1/);
  sandbox.write("2-bad", "select 1;");
  expect(() => readMigrations("auth", sandbox.folder)).toThrow(/must be named like/);
});

test("a service refuses an older schema with the command that mends it, and accepts a newer one", async () => {
  await using sandbox = await createSandbox({ "0001_first": "create table auth.a (id int);" });
  const pool = await sandbox.db.pool("auth");
  await expect(requireSchema(pool, "auth", sandbox.folder)).rejects.toThrow(/auth is missing.*npm run db:migrate/);
  await sandbox.migrate();
  await requireSchema(pool, "auth", sandbox.folder);
  sandbox.write("0002_more", "create table auth.b (id int);");
  await expect(requireSchema(pool, "auth", sandbox.folder)).rejects.toThrow(/lacks 0002_more: run npm run db:migrate/);

  await using newer = await createSandbox({
    "0001_first": "create table auth.a (id int);",
    "0002_more": "create table auth.b (id int);",
  });
  const newerPool = await newer.db.pool("auth");
  await newer.migrate();
  await using old = await createSandbox({ "0001_first": "create table auth.a (id int);" });
  await requireSchema(newerPool, "auth", old.folder);
  newer.write("0003_contract", "-- needs-code: 2\nalter table auth.a drop column id;");
  await newer.migrate();
  await expect(requireSchema(newerPool, "auth", old.folder)).rejects.toThrow(
    /migration 3 .* needs code .* deploy a newer/,
  );
});

test("a login without the right to make roles is told what an administrator has to do", async () => {
  await using sandbox = await createSandbox({});
  const { db } = sandbox;
  await query(db, `create role ${db.name} login password 'opensesame'`);
  const url = new URL(db.url());
  url.username = db.name;
  url.password = "opensesame";
  const attempt = migrate({ url: url.href, schemas: auth, folder: sandbox.folder });
  await expect(attempt).rejects.toThrow(/grant auth_owner to <this login>/);
  await query(db, `drop role ${db.name}`);
});

test("a login with createrole that owns the database can migrate a fresh server without being superuser", async () => {
  await using folder = createTempFolder();
  await using server = await startEmbeddedPostgres({ folder: folder.path, fsync: false });
  const superuser = new pg.Client({ connectionString: server.url });
  await superuser.connect();
  await superuser.query("create role operator login createrole password 'opensesame'");
  await superuser.query("alter database decentrastore owner to operator");
  await superuser.end();
  const url = new URL(server.url);
  url.username = "operator";
  url.password = "opensesame";
  expect((await migrate({ url: url.href, schemas: auth })).length).toBeGreaterThan(3);
  expect(await migrate({ url: url.href, schemas: auth, appPasswords: { auth: "opensesame" } })).toEqual([]);
  url.username = "auth_app";
  const app = new pg.Client({ connectionString: url.href });
  await app.connect();
  await app.query("select * from auth.leases");
  await app.end();
});
