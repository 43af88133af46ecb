import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { expect, test } from "vitest";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { startEmbeddedPostgres } from "./embedded-postgres.ts";

async function ask(url: string, text: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return Object.values((await client.query(text)).rows[0] ?? {})[0];
  } finally {
    await client.end();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function untilGone(pid: number): Promise<void> {
  for (let i = 0; i < 200 && isAlive(pid); i += 1) await delay(25);
  expect(isAlive(pid)).toBe(false);
}

test("it runs below a private folder, on a free port, and keeps its data and password between starts", async () => {
  await using temp = createTempFolder();
  const folder = path.join(temp.path, "private", "postgres");
  mkdirSync(path.dirname(folder), { mode: 0o700 });
  chmodSync(path.dirname(folder), 0o700);
  const first = await startEmbeddedPostgres({ folder });
  expect(first.port).not.toBe(5432);
  await ask(first.url, "create table kept as select 42 as n");
  expect(statSync(path.join(folder, "superuser-password")).mode & 0o777).toBe(0o600);
  await first.stop();
  expect(await first.exited).toMatchObject({ code: 0 });
  expect(isAlive(first.pid)).toBe(false);
  await using second = await startEmbeddedPostgres({ folder });
  expect(await ask(second.url, "select n from kept")).toBe(42);
  expect(new URL(second.url).password).toBe(new URL(first.url).password);
});

test("after kill -9 of the server the next start recovers what was committed", async () => {
  await using temp = createTempFolder();
  const first = await startEmbeddedPostgres({ folder: temp.path });
  await ask(first.url, "create table kept as select 42 as n");
  process.kill(first.pid, "SIGKILL");
  expect(await first.exited).toEqual({ code: null, signal: "SIGKILL" });
  await using second = await startEmbeddedPostgres({ folder: temp.path, port: first.port });
  expect(second.port).toBe(first.port);
  expect(await ask(second.url, "select n from kept")).toBe(42);
});

test("the server ends when its parent is killed, and a start takes over the folder at once", async () => {
  await using temp = createTempFolder();
  const script = `
    const { startEmbeddedPostgres } = await import(${JSON.stringify(path.join(import.meta.dirname, "embedded-postgres.ts"))});
    const server = await startEmbeddedPostgres({ folder: ${JSON.stringify(temp.path)}, fsync: false });
    console.log(server.pid);
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(parent.stdout, "data");
  const pid = Number(String(line));
  parent.kill("SIGKILL");
  await using server = await startEmbeddedPostgres({ folder: temp.path, fsync: false });
  expect(await ask(server.url, "select 1")).toBe(1);
  await untilGone(pid);
});

test("a start that was killed during initdb leaves nothing that stands in the way", async () => {
  await using temp = createTempFolder();
  mkdirSync(path.join(temp.path, "data.partial", "base"), { recursive: true });
  await using server = await startEmbeddedPostgres({ folder: temp.path, fsync: false });
  expect(existsSync(path.join(temp.path, "data.partial"))).toBe(false);
  expect(await ask(server.url, "select current_setting('server_version_num')::int / 10000")).toBe(18);
});

test("a wrong setting is reported with the server's own words", async () => {
  await using temp = createTempFolder();
  const start = startEmbeddedPostgres({ folder: temp.path, fsync: false, settings: { shared_buffers: "nonsense" } });
  await expect(start).rejects.toThrow(/invalid value for parameter "shared_buffers"/);
});

test("two starts at the same moment in two folders do not meet", async () => {
  await using temp = createTempFolder();
  const servers = await Promise.all(
    ["a", "b"].map((name) => startEmbeddedPostgres({ folder: path.join(temp.path, name), fsync: false })),
  );
  expect(new Set(servers.map(({ port }) => port)).size).toBe(2);
  await Promise.all(servers.map((server) => server.stop()));
});

test("where user namespaces are forbidden it still runs, also as root", async () => {
  await using temp = createTempFolder();
  chmodSync(temp.path, 0o755);
  const [folder, publicFolder] = [path.join(temp.path, "private"), path.join(temp.path, "public")];
  await using server = await startEmbeddedPostgres({ folder, publicFolder, fsync: false });
  expect(await ask(server.url, "select 1")).toBe(1);
  expect(readFileSync(path.join(folder, "postgres.log"), "utf8")).toContain("ready to accept connections");
});
