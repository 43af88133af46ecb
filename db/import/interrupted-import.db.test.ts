import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeEach, expect, test, vi } from "vitest";
import { z } from "zod";
import { sql } from "#platform/postgres/sql.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { createTestDatabase, type TestDatabase } from "#platform/testing/test-database.ts";
import {
  countsOf,
  createFile,
  documentTable,
  environmentOf,
  hash,
  manyUsers,
  runImport,
} from "../testing/original-file.ts";

// What goes wrong around an import: a crash, a file that cannot be read, a reader that goes away.

// Each command is a process of its own, which takes its time on a busy machine.
vi.setConfig({ testTimeout: 180_000 });

const folder = createTempFolder();
let db: TestDatabase;
beforeEach(async () => {
  db = await createTestDatabase();
  return () => db[Symbol.asyncDispose]();
});
afterAll(() => folder[Symbol.asyncDispose]());

test("an import that is killed goes on where it was: nobody twice, nobody without an event", async () => {
  const file = createFile(folder.path, documentTable, manyUsers(8_000));
  const killed = spawn(process.execPath, ["db/import-sqlite.ts", file], { env: environmentOf(db), stdio: "ignore" });
  await killInTheMiddle(killed);
  const before = await countsOf(db);
  expect(before.users).toBe(before.events);
  expect(before.users % 1_000).toBe(0);
  const { output } = await runImport(db, file);
  expect(output).toMatch(
    new RegExp(`8000 read, ${8_000 - before.users} imported, ${before.users} here already, 0 left out`),
  );
  expect(await countsOf(db)).toEqual({ users: 8_000, events: 8_000 });
  expect((await runImport(db, file)).output).toMatch(/8000 read, 0 imported, 8000 here already/);
});

async function killInTheMiddle(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit");
  while (child.exitCode === null && (await countsOf(db)).users === 0) await delay(5);
  child.kill("SIGKILL");
  await ended;
}

test("locked, damaged, foreign and missing files are named with what to do, without a stack", async () => {
  const locked = createFile(folder.path, documentTable, manyUsers(1));
  const holder = new DatabaseSync(locked);
  holder.exec("begin exclusive");
  const damaged = createFile(folder.path, documentTable, manyUsers(3_000));
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
    [createFile(folder.path, "create table people (id integer)"), /has no table users: it has people/],
    [
      createFile(folder.path, "create table users (id integer, username text)"),
      /lacks password_hash, salt or key_salt/,
    ],
  ];
  for (const [file, message] of files) {
    const { code, output } = await runImport(db, file);
    expect(output).toMatch(message);
    expect([code, /\n\s+at /.test(output)]).toEqual([1, false]);
  }
  holder.close();
  // Whole batches that were read before the damage are kept, and nothing else.
  const { users, events } = await countsOf(db);
  expect([users % 1_000, users]).toEqual([0, events]);
});

test("UTF-16 files are read as such, and the file stays as it was", async () => {
  const file = createFile(
    folder.path,
    "pragma encoding = 'UTF-16'",
    documentTable,
    `insert into users (username, password_hash, salt)
    values ('Zoë', '${hash}', 'sälz')`,
  );
  const before = readFileSync(file);
  expect((await runImport(db, file)).output).toMatch(/1 imported/);
  expect(readFileSync(file).equals(before)).toBe(true);
  const pool = await db.pool("auth");
  const row = z.strictObject({ username: z.string() });
  expect(await pool.anyFirst(sql.type(row)`select username from auth.users where salt = ${"sälz"}`)).toEqual(["Zoë"]);
});

test("whoever reads the lines may stop: the work goes on to its end", async () => {
  const file = createFile(folder.path, documentTable, manyUsers(5_000));
  const child = spawn("sh", ["-c", `"${process.execPath}" db/import-sqlite.ts "${file}" | true`], {
    env: environmentOf(db),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr.on("data", (piece: Buffer) => {
    errors += piece.toString();
  });
  await once(child, "exit");
  while ((await countsOf(db)).users < 5_000) await delay(20);
  expect(errors).toBe("");
});
