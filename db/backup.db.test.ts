import { execFile } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { migrate } from "#platform/migrations/migrate.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../services/dev/embedded-postgres.ts";
import { backupSchemas } from "./backup-schemas.ts";
import { programFor } from "./postgres-programs.ts";
import { restoreSchemas } from "./restore-schemas.ts";
import { findSavingServer } from "./testing/saving-server.ts";

const temp = createTempFolder();

const saving = findSavingServer();
const canSave = saving !== undefined;

let server: EmbeddedPostgres;

beforeAll(async () => {
  const folder = path.join(temp.path, "server");
  server = await startEmbeddedPostgres({ folder, fsync: false, settings: { shared_preload_libraries: "" }, ...saving });
  await migrate({ url: server.url });
});

afterAll(async () => {
  await server.stop();
  await temp[Symbol.asyncDispose]();
});

async function query(text: string): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

const insertEvents = (schema: string, count: number) =>
  query(`insert into ${schema}.outbox (event_id, subject, key, key_version, type, payload)
    select gen_random_uuid(), 's', n::text, n, 't', decode(md5(n::text), 'hex') from generate_series(1, ${count}) as n`);

const countEvents = async (schema: string) => (await query(`select count(*)::int as n from ${schema}.outbox`))[0]?.n;

test("a pg_dump older than the server is refused, and the message names what was found and the cure", () => {
  const attempt = () => programFor("pg_dump", 99);
  expect(attempt).toThrow(/pg_dump of version 99 or newer is needed.*postgresql-client-99.*brew install/);
});

test("everything comes back: rows, sequences, rights, versions", async () => {
  if (!canSave) return expectRefusal();
  await insertEvents("auth", 500);
  await insertEvents("user_quota", 20);
  const folder = await save("round-trip");
  const manifest = JSON.parse(readFileSync(path.join(folder, "manifest.json"), "utf8"));
  expect(manifest.schemas.auth.tables.outbox.rows).toBe("500");
  expect(manifest.schemas.auth.migrations[0]).toBe("0001_platform");

  await query("drop schema auth cascade; drop schema user_quota cascade; drop schema node_registry cascade");
  await restoreSchemas({ url: server.url, folder, isForced: false });
  expect(await countEvents("auth")).toBe(500);
  // Far behind all ids that were drawn between the backup and the loss.
  expect(await query("select nextval('auth.outbox_id') > 1000000000 as is_new")).toEqual([{ is_new: true }]);
  expect(await query("select tableowner from pg_tables where schemaname = 'auth' and tablename = 'outbox'")).toEqual([
    { tableowner: "auth_owner" },
  ]);
  await query("set role auth_app; insert into auth.leases values ('x', gen_random_uuid(), 1, now()); reset role");
  await query("set role auth_app; select * from auth.maintain_partitions()");
  expect(await migrate({ url: server.url })).toEqual([]);
});

test("one schema is replaced only with --force, and the others stay as they are", async () => {
  if (!canSave) return expectRefusal();
  const folder = await save("one-schema");
  const before = [await countEvents("auth"), await countEvents("user_quota")];
  await insertEvents("auth", 3);
  await insertEvents("user_quota", 3);
  const options = { url: server.url, folder, schemas: ["auth"] as const };
  await expect(restoreSchemas({ ...options, isForced: false })).rejects.toThrow(/repeat with --force/);
  await restoreSchemas({ ...options, isForced: true });
  expect([await countEvents("auth"), await countEvents("user_quota")]).toEqual([before[0], Number(before[1]) + 3]);
});

test("beside a running service nothing is restored without --force", async () => {
  if (!canSave) return expectRefusal();
  const folder = await save("running");
  await query("drop schema user_quota cascade");
  const service = new pg.Client({ connectionString: server.url, application_name: "decentrastore user_quota" });
  service.on("error", () => {});
  await service.connect();
  const options = { url: server.url, folder, schemas: ["user_quota"] as const };
  await expect(restoreSchemas({ ...options, isForced: false })).rejects.toThrow(/has 1 open sessions: stop it first/);
  await restoreSchemas({ ...options, isForced: true });
  await service.end();
});

test("a damaged archive and one that does not verify leave everything as it was", async () => {
  if (!canSave) return expectRefusal();
  const folder = await save("damaged");
  const manifestFile = path.join(folder, "manifest.json");
  const before = await countEvents("auth");
  await insertEvents("auth", 1);
  const text = readFileSync(manifestFile, "utf8");
  writeFileSync(manifestFile, text.replace(`"rows": "${before}"`, '"rows": "7"'));
  const attempt = () => restoreSchemas({ url: server.url, folder, schemas: ["auth"], isForced: true });
  await expect(attempt()).rejects.toThrow(/outbox has \d+ rows instead of 7/);
  expect(await countEvents("auth")).toBe(Number(before) + 1);
  appendFileSync(path.join(folder, "auth.dump"), "x");
  await expect(attempt()).rejects.toThrow(/changed or damaged/);
  expect(await countEvents("auth")).toBe(Number(before) + 1);
});

test("when one of several schemas does not verify, or the restore is ended, all are as they were", async () => {
  if (!canSave) return expectRefusal();
  const folder = await save("several");
  const manifestFile = path.join(folder, "manifest.json");
  await insertEvents("auth", 1);
  const before = [await countEvents("auth"), await countEvents("user_quota")];
  const text = readFileSync(manifestFile, "utf8");
  const rows = `"rows": "${before[1]}"`;
  expect(text.split(rows).length).toBe(2);
  writeFileSync(manifestFile, text.replace(rows, '"rows": "7777"'));
  const options = { url: server.url, folder, isForced: true };
  await expect(restoreSchemas(options)).rejects.toThrow(/user_quota is not what was saved.*instead of 7777/);
  expect([await countEvents("auth"), await countEvents("user_quota")]).toEqual(before);
  writeFileSync(manifestFile, text);
  const signal = AbortSignal.abort(new Error("ended by SIGINT"));
  await expect(restoreSchemas({ ...options, signal })).rejects.toThrow("ended by SIGINT");
  expect([await countEvents("auth"), await countEvents("user_quota")]).toEqual(before);
});

test("what a killed restore had moved aside is brought back by the next one, never replaced or dropped", async () => {
  if (!canSave) return expectRefusal();
  const folder = await save("killed");
  await insertEvents("auth", 5);
  const before = await countEvents("auth");
  await query("alter schema auth rename to auth_before_restore");
  await expect(migrate({ url: server.url })).rejects.toThrow(/what was there before it is in auth_before_restore/);
  const options = { url: server.url, folder, schemas: ["auth"] as const };
  await expect(restoreSchemas({ ...options, isForced: false })).rejects.toThrow(/repeat with --force/);
  expect(await countEvents("auth")).toBe(before);
  await query("create schema auth_before_restore; create table auth_before_restore.users ()");
  await expect(restoreSchemas({ ...options, isForced: true })).rejects.toThrow(/an earlier restore did not end/);
  expect(await countEvents("auth")).toBe(before);
  await query("drop schema auth_before_restore cascade");
  const other = new pg.Client({ connectionString: server.url });
  await other.connect();
  await other.query("select pg_advisory_lock(hashtext('decentrastore db:restore'))");
  await expect(restoreSchemas({ ...options, isForced: true })).rejects.toThrow(/another restore .* is running/);
  await other.end();
});

test("a backup is made while rows are being written, and agrees with itself", async () => {
  if (!canSave) return expectRefusal();
  let isOver = false;
  const writing = (async () => {
    while (!isOver) await insertEvents("auth", 20);
  })();
  const folder = await save("under-load");
  isOver = true;
  await writing;
  await restoreSchemas({ url: server.url, folder, isForced: true });
});

test("the password is in no output of the command", async () => {
  const { DATABASE_URL: _, ...env } = process.env;
  const run = promisify(execFile)(process.execPath, ["db/backup.ts", "--out", path.join(temp.path, "cli")], {
    env: { ...env, DATABASE_URL: server.url },
  });
  const { stdout, stderr } = await run.catch((error: { stdout: string; stderr: string }) => error);
  expect(stdout + stderr).not.toContain(new URL(server.url).password);
  expect(stdout).toContain(canSave ? "saved in" : "saving");
});

/** Without a suitable client the command does nothing but say what to install. */
async function expectRefusal(): Promise<void> {
  await expect(save("refused")).rejects.toThrow(/pg_dump of version \d+ or newer is needed.*Install it/);
  expect(existsSync(path.join(temp.path, "refused"))).toBe(false);
}

async function save(name: string): Promise<string> {
  const folder = path.join(temp.path, name);
  await backupSchemas({ url: server.url, folder, schemas: ["auth", "user_quota", "node_registry"] });
  return folder;
}
