import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { UserRegisteredSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { sql, zBytes, zInt8, zUuid } from "#platform/postgres/sql.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";

const folder = createTempFolder();
let db: TestDatabase;
beforeEach(async () => {
  db = await createTestDatabase();
  return () => db[Symbol.asyncDispose]();
});
afterAll(() => folder[Symbol.asyncDispose]());

const hash = `$2b$12$${"a".repeat(53)}`;
const documentTable = `create table users (
  id INTEGER PRIMARY KEY AUTOINCREMENT, username VARCHAR(80) UNIQUE NOT NULL, email VARCHAR(120) UNIQUE,
  password_hash VARCHAR(255) NOT NULL, salt VARCHAR(32) NOT NULL, storage_used_bytes BIGINT DEFAULT 0,
  storage_quota_bytes BIGINT DEFAULT 10737418240, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, last_login TIMESTAMP,
  is_active BOOLEAN DEFAULT TRUE, is_admin BOOLEAN DEFAULT FALSE)`;
const applicationTable = `create table users (
  id TEXT PRIMARY KEY, username TEXT, email TEXT, password_hash TEXT, key_salt TEXT, storage_used_bytes INTEGER,
  storage_quota_bytes INTEGER, created_at TEXT, last_login TEXT, is_active INTEGER, is_admin INTEGER)`;

let files = 0;
function createFile(...statements: readonly string[]): string {
  files += 1;
  const file = path.join(folder.path, `users-${files}.db`);
  const source = new DatabaseSync(file);
  for (const statement of statements) source.exec(statement);
  source.close();
  return file;
}

const manyUsers = (count: number) => `
  with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ${count})
  insert into users (username, email, password_hash, salt, storage_used_bytes)
  select 'user' || n, 'user' || n || '@example.com', '${hash}', 'salt', n from numbers`;

function environment(): NodeJS.ProcessEnv {
  return { ...process.env, DATABASE_URL: db.url() };
}

/** The command as an operator calls it: its exit code and what it printed. */
async function run(file: string, ...options: readonly string[]): Promise<{ code: number; output: string }> {
  const parameters = ["db/import-sqlite.ts", file, ...options];
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, parameters, { env: environment() });
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    const failed = z.object({ code: z.number(), stdout: z.string(), stderr: z.string() }).parse(error);
    return { code: failed.code, output: failed.stdout + failed.stderr };
  }
}

const countRow = z.strictObject({ n: zInt8 });
async function counts() {
  const pool = await db.pool("auth");
  const users = await pool.oneFirst(sql.type(countRow)`select count(*) n from auth.users`);
  const events = await pool.oneFirst(sql.type(countRow)`select count(*) n from auth.outbox`);
  return { users: Number(users), events: Number(events) };
}

async function openings() {
  const pool = await db.pool("auth");
  const row = z.strictObject({ type: z.string(), payload: zBytes });
  const rows = await pool.any(sql.type(row)`select type, payload from auth.outbox where type like '%UserRegistered'`);
  return new Map(
    rows.map(({ payload }) => {
      const { userId, opening } = fromBinary(UserRegisteredSchema, payload);
      return [userId, opening === undefined ? undefined : [opening.storageUsedBytes, opening.storageQuotaBytes]];
    }),
  );
}

test("the document's shape: numbers become UUIDs, bytes travel with the event, other tables are named and left", async () => {
  const file = createFile(
    documentTable,
    "create table storage_nodes (id integer)",
    `insert into users (username, email, password_hash, salt, storage_used_bytes, storage_quota_bytes)
     values ('x', 'X@example.com', '${hash}', 'the salt', 900, 1000), ('y', null, '${hash}', 'other', null, null)`,
    `update users set is_active = 0, last_login = '2024-05-01 10:30:00' where username = 'y'`,
  );
  const { code, output } = await run(file);
  expect(output).toMatch(/left alone: storage_nodes\n/);
  expect(output).toMatch(/2 read, 2 imported, 0 here already, 0 left out/);
  expect(code).toBe(0);
  expect(await openings()).toEqual(
    new Map([
      ["00000000-0000-8000-8000-000000000001", [900n, 1_000n]],
      ["00000000-0000-8000-8000-000000000002", [0n, 10_737_418_240n]],
    ]),
  );
  const pool = await db.pool("auth");
  const row = z.strictObject({ name: z.string(), salt: z.string(), active: z.boolean(), login: z.string().nullable() });
  const users = await pool.any(sql.type(row)`
    select username name, salt, is_active active, last_login::text login from auth.users order by username`);
  expect(users).toEqual([
    { name: "x", salt: "the salt", active: true, login: null },
    { name: "y", salt: "other", active: false, login: expect.stringMatching(/^2024-05-01 10:30:00/) },
  ]);
  // Who was inactive is so everywhere: other services hear of it.
  expect(await counts()).toEqual({ users: 2, events: 3 });
});

test("the application's shape: UUIDs stay, base64 salts become hex, admins only where asked for", async () => {
  const id = "6fa459ea-ee8a-4ca4-894e-db77e160355e";
  const salt = Buffer.from("00112233445566778899aabbccddeeff", "hex");
  const file = createFile(
    applicationTable,
    `insert into users (id, username, password_hash, key_salt, created_at, is_admin)
     values ('${id}', 'root', '${hash}', '${salt.toString("base64")}', '2024-05-01T10:30:00+00:00', 1)`,
  );
  expect((await run(file, "--with-admins")).output).toMatch(/1 imported/);
  const pool = await db.pool("auth");
  const row = z.strictObject({ id: zUuid, salt: z.string(), admin: z.boolean() });
  expect(await pool.any(sql.type(row)`select id, salt, is_admin admin from auth.users`)).toEqual([
    { id, salt: salt.toString("hex"), admin: true },
  ]);
  const audited = z.strictObject({ reason: z.string() });
  expect(await pool.anyFirst(sql.type(audited)`select reason from auth.audit_events order by audit_event_id`)).toEqual([
    "imported 1 users from another system",
    "imported as an admin",
  ]);
});

test("a dry run writes nothing and says of each row what would happen, as it then does", async () => {
  const row = (id: string, name: string, email: string, more = "'salt', 5") =>
    `insert into users (id, username, email, password_hash, key_salt, storage_used_bytes)
     values (${id}, ${name}, ${email}, '${hash}', ${more})`;
  const file = createFile(
    applicationTable,
    row("1", "'alice'", "'alice@example.com'"),
    row("2", "'ALICE'", "null"),
    row("3", "'bob'", "'Alice@Example.com'"),
    row("4", "null", "null"),
    row("5", "cast(x'61ff' as text)", "null"),
    row("6", "'carol'", "null", "'salt', -3"),
    row("7", "'dave' || char(27) || '[2J'", "null"),
    `insert into users (id, username, password_hash, key_salt) values (8, 'erin', 'md5 of something', 's')`,
    row("9", "'frank'", "null"),
  );
  const refused = [
    /row 2, id "2", username "ALICE": left out, its username belongs to 00000000-0000-8000-8000-000000000001/,
    /row 3, .*: left out, its e-mail address belongs to 00000000-0000-8000-8000-000000000001/,
    /row 4, .*username NULL: left out, username is NULL/,
    /row 5, .*: left out, username is not valid UTF-8/,
    /row 6, .*: left out, storage_used_bytes is negative \(-3\)/,
    /row 7, .*: left out, username must have/,
    /row 8, .*: left out, password_hash is neither a bcrypt nor an argon2id hash/,
  ];
  const rehearsed = await run(file, "--dry-run");
  for (const line of refused) expect(rehearsed.output).toMatch(line);
  expect(rehearsed.output).toMatch(/row 9, .*: becomes 00000000-0000-8000-8000-000000000009, 5 of 10737418240 bytes/);
  expect(rehearsed.output).toMatch(/9 read, 2 to import, 0 here already, 7 left out/);
  expect(rehearsed.output).not.toContain("\x1b");
  expect(await counts()).toEqual({ users: 0, events: 0 });

  const done = await run(file, "--strict");
  for (const line of refused) expect(done.output).toMatch(line);
  expect(done.code).toBe(1);
  expect(done.output).not.toMatch(/row 9|md5/);
  expect(await counts()).toEqual({ users: 2, events: 2 });
  expect((await run(file, "--dry-run")).output).toMatch(/9 read, 0 to import, 2 here already, 7 left out/);
});

test("a name or an id that somebody has here is left out, and who was deleted here does not come back", async () => {
  const file = createFile(documentTable, manyUsers(3));
  const pool = await db.pool("auth");
  await run(file);
  await pool.query(sql.unsafe`
    insert into auth.audit_events (occurred_at, audit_event_id, type, result, user_id)
    select now(), gen_random_uuid(), 'DELETE_USER', 'SUCCEEDED', id from auth.users where username = 'user1'`);
  await pool.query(sql.unsafe`delete from auth.users where username = 'user1'`);
  await pool.query(sql.unsafe`
    update auth.users set username = 'renamed', username_key = 'renamed' where username = 'user2'`);
  const { output } = await run(file);
  expect(output).toMatch(/"user1": left out, was deleted here and stays so/);
  expect(output).toMatch(/"user2": left out, its id belongs to a user of another name/);
  expect(output).toMatch(/3 read, 0 imported, 1 here already, 2 left out/);
});

test("an import that is killed goes on where it was: nobody twice, nobody without an event", async () => {
  const file = createFile(documentTable, manyUsers(20_000));
  const killed = spawn(process.execPath, ["db/import-sqlite.ts", file], { env: environment(), stdio: "ignore" });
  await killInTheMiddle(killed);
  const before = await counts();
  expect(before.users).toBe(before.events);
  expect(before.users % 1_000).toBe(0);
  const { output } = await run(file);
  expect(output).toMatch(
    new RegExp(`20000 read, ${20_000 - before.users} imported, ${before.users} here already, 0 left out`),
  );
  expect(await counts()).toEqual({ users: 20_000, events: 20_000 });
  expect((await run(file)).output).toMatch(/20000 read, 0 imported, 20000 here already/);
});

async function killInTheMiddle(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit");
  while (child.exitCode === null && (await counts()).users === 0) await delay(5);
  child.kill("SIGKILL");
  await ended;
}

test("locked, damaged, foreign and missing files are named with what to do, without a stack", async () => {
  const locked = createFile(documentTable, manyUsers(1));
  const holder = new DatabaseSync(locked);
  holder.exec("begin exclusive");
  const damaged = createFile(documentTable, manyUsers(3_000));
  const bytes = readFileSync(damaged);
  bytes.fill(0xaa, 200_000, 300_000);
  writeFileSync(damaged, bytes);
  const foreign = path.join(folder.path, "foreign.db");
  writeFileSync(foreign, "this is a text".repeat(100));
  const files: readonly (readonly [string, RegExp])[] = [
    [locked, /is locked by another program: stop the original application/],
    [damaged, /is damaged: repeat with a backup/],
    [foreign, /is no SQLite database/],
    [folder.path, /is no file/],
    [path.join(folder.path, "nothing.db"), /does not exist/],
    [createFile("create table people (id integer)"), /has no table users: it has people/],
    [createFile("create table users (id integer, username text)"), /lacks password_hash, salt or key_salt/],
  ];
  for (const [file, message] of files) {
    const { code, output } = await run(file);
    expect(output).toMatch(message);
    expect([code, /\n\s+at /.test(output)]).toEqual([1, false]);
  }
  holder.close();
  // Whole batches that were read before the damage are kept, and nothing else.
  const { users, events } = await counts();
  expect([users % 1_000, users]).toEqual([0, events]);
});

test("UTF-16 files are read as such, and the file stays as it was", async () => {
  const file = createFile(
    "pragma encoding = 'UTF-16'",
    documentTable,
    `insert into users (username, password_hash, salt)
    values ('Zoë', '${hash}', 'sälz')`,
  );
  const before = readFileSync(file);
  expect((await run(file)).output).toMatch(/1 imported/);
  expect(readFileSync(file).equals(before)).toBe(true);
  const pool = await db.pool("auth");
  const row = z.strictObject({ username: z.string() });
  expect(await pool.anyFirst(sql.type(row)`select username from auth.users where salt = ${"sälz"}`)).toEqual(["Zoë"]);
});

test("whoever reads the lines may stop: the work goes on to its end", async () => {
  const file = createFile(documentTable, manyUsers(5_000));
  const child = spawn("sh", ["-c", `"${process.execPath}" db/import-sqlite.ts "${file}" | true`], {
    env: environment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr.on("data", (piece: Buffer) => {
    errors += piece.toString();
  });
  await once(child, "exit");
  while ((await counts()).users < 5_000) await delay(20);
  expect(errors).toBe("");
});
