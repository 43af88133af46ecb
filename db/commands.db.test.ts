import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { expect, test, vi } from "vitest";
import { selectDatabase, selectSlowestStatements } from "#platform/ops/database-stats.store.ts";
import { sql } from "#platform/postgres/sql.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { createTestDatabase } from "#platform/testing/test-database.ts";

// Each command is a process of its own, which takes its time on a busy machine.
vi.setConfig({ testTimeout: 180_000 });

interface Outcome {
  readonly code: number;
  readonly output: string;
}

async function run(command: string, parameters: readonly string[], env: Record<string, string>): Promise<Outcome> {
  const file = path.join(import.meta.dirname, `${command}.ts`);
  const { PATH = "" } = process.env;
  const options = { env: { PATH, DECENTRASTORE_HOME: "/nowhere", ...env } };
  return promisify(execFile)(process.execPath, [file, ...parameters], options).then(
    ({ stdout, stderr }) => ({ code: 0, output: stdout + stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      output: error.stdout + error.stderr,
    }),
  );
}

test("an empty database is brought up to date step by step, and each command says where it stands", async () => {
  await using db = await createTestDatabase({ isEmpty: true });
  const env = { DATABASE_URL: db.url() };
  expect(await run("status", [], env)).toMatchObject({
    code: 1,
    output: expect.stringMatching(/pending: run npm run/),
  });
  const check = await run("check", [], env);
  expect(check).toMatchObject({
    code: 1,
    output: expect.stringMatching(/✘ the schema auth lacks.*\n.*run npm run db:migrate/),
  });
  expect(await run("migrate", ["--schema", "auth"], env)).toMatchObject({ code: 0 });
  expect((await run("migrate", ["--schema", "auth"], env)).output).toContain("nothing to do");
  expect((await run("status", [], env)).output).toMatch(/auth\n {2}0001_platform +20/);
});

test("a migration that was edited after it had been applied is not called up to date", async () => {
  await using db = await createTestDatabase();
  const env = { DATABASE_URL: db.url() };
  const admin = await db.pool("auth", { url: db.url() });
  await admin.query(sql.unsafe`update auth.schema_migrations set checksum = 'another' where version = 5`);
  const { code, output } = await run("status", [], env);
  expect(output).toMatch(/0005_throttles .* EDITED since/);
  expect(output).toMatch(/1 edited: db:migrate refuses them/);
  expect(output).not.toContain("up to date");
  expect(code).toBe(1);
  expect(await run("migrate", [], env)).toMatchObject({ code: 1 });
});

test("on a whole database all is well, sizes and plans are shown, and no password appears", async () => {
  await using db = await createTestDatabase();
  const env = { DATABASE_URL: db.url() };
  const results = await Promise.all(["status", "check", "stats", "explain"].map((name) => run(name, [], env)));
  expect(results.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
  const output = results.map((result) => result.output).join("\n");
  expect(output).toContain("up to date");
  expect(output).toContain("all is well");
  expect(output).toMatch(/auth\.outbox +\d+/);
  expect(output).toMatch(/7 days after published_at/);
  expect(output).not.toContain(new URL(db.url()).password);
});

test("without DATABASE_URL the local database is used, and without either the command says what to do", async () => {
  await using db = await createTestDatabase();
  await using home = createTempFolder();
  mkdirSync(home.path, { recursive: true });
  const dev = { databaseUrl: db.url(), natsUrl: "nats://127.0.0.1:1" };
  writeFileSync(path.join(home.path, "dev.json"), JSON.stringify(dev));
  const found = await run("status", [], { DECENTRASTORE_HOME: home.path });
  expect(found).toMatchObject({ code: 0, output: expect.stringContaining(db.name) });
  expect(await run("status", [], {})).toMatchObject({
    code: 1,
    output: expect.stringMatching(/^no database: set DATABASE_URL=.*npm start\n$/),
  });
});

test("bad input is answered with one line", async () => {
  const env = { DATABASE_URL: "postgres://bob:opensesame@127.0.0.1:1/x" };
  const outcomes = await Promise.all([
    run("check", [], env),
    run("migrate", ["--schema", "nothing"], env),
    run("new", ["nothing", "x"], env),
    run("restore", ["/nowhere"], env),
    run("check", [], { DATABASE_URL: "http://x" }),
  ]);
  expect(outcomes.map(({ code }) => code)).toEqual([1, 1, 1, 1, 1]);
  const output = outcomes.map((outcome) => outcome.output).join("\n");
  expect(output).toContain("is PostgreSQL running?");
  expect(output).toContain("there is no schema nothing");
  expect(output).toContain("is not the manifest of a backup");
  expect(output).not.toMatch(/sesame|\n {4}at /);
});

test("whoever reads the output may stop reading: every command ends as it would, without a complaint", async () => {
  await using db = await createTestDatabase();
  const { PATH = "" } = process.env;
  const env = { PATH, DECENTRASTORE_HOME: "/nowhere", DATABASE_URL: db.url() };
  for (const command of ["status", "check", "stats", "explain", "migrate"]) {
    const line = `{ "${process.execPath}" db/${command}.ts; echo "ended with $?" >&2; } | true`;
    const { stderr } = await promisify(execFile)("sh", ["-c", line], { env });
    expect([command, stderr]).toEqual([command, "ended with 0\n"]);
  }
});

test("a word that a command does not know stops it before it does anything", async () => {
  await using db = await createTestDatabase({ isEmpty: true });
  for (const command of ["status", "check", "explain", "stats", "migrate"]) {
    const outcome = await run(command, ["--dry-run"], { DATABASE_URL: db.url() });
    expect(outcome).toEqual({ code: 1, output: expect.stringContaining("unknown option '--dry-run'") });
  }
});

test("a statement that sets a password stands in no statistics", async () => {
  await using db = await createTestDatabase();
  const admin = await db.pool("auth", { url: db.url() });
  // Slow, so that they are among the slowest.
  await admin.query(sql.unsafe`do $$ begin perform pg_sleep(0.3); end $$`);
  await admin.query(
    sql.unsafe`do $$ begin perform pg_sleep(0.3); create role sets_a_password login password 'opensesame'; drop role sets_a_password; end $$`,
  );
  const { output } = await run("stats", [], { DATABASE_URL: db.url() });
  expect(output).toContain("pg_sleep");
  expect(output).not.toContain("sesame");
  const { statementsSchema } = await selectDatabase(admin);
  const slowest = await selectSlowestStatements(admin, statementsSchema ?? "");
  expect(slowest.map(({ query }) => query).join()).toContain("pg_sleep");
  expect(slowest.map(({ query }) => query).join()).not.toContain("sesame");
});
