import { mkdirSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../dev/embedded-postgres.ts";
import { createTempFolder } from "../testing/temp-folder.ts";
import { createTestLogger } from "../testing/test-database.ts";
import { createTestTlsFiles, type TestTlsFiles } from "../testing/test-tls-files.ts";
import { openPool } from "./pool.ts";
import { sql } from "./sql.ts";

const folder = createTempFolder();
let server: EmbeddedPostgres;
let own: TestTlsFiles;
let foreign: TestTlsFiles;

beforeAll(async () => {
  for (const name of ["own", "foreign"]) mkdirSync(path.join(folder.path, name));
  own = await createTestTlsFiles(path.join(folder.path, "own"), ["localhost"]);
  foreign = await createTestTlsFiles(path.join(folder.path, "foreign"), ["localhost"]);
  server = await startEmbeddedPostgres({
    folder: path.join(folder.path, "server"),
    fsync: false,
    settings: { ssl: "on", ssl_cert_file: own.certificateFile, ssl_key_file: own.keyFile },
  });
});

afterAll(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

function urlWith(parameters: Record<string, string>, host = "localhost"): string {
  const url = new URL(server.url);
  url.hostname = host;
  for (const [key, value] of Object.entries(parameters)) url.searchParams.set(key, value);
  return url.href;
}

/** Whether the connection is encrypted, or why there is none. */
async function connect(url: string): Promise<boolean | string> {
  try {
    const pool = await openPool({ url, schema: "auth", log: createTestLogger(), poolSize: 1, startTimeoutMs: 0 });
    const row = sql.type(z.strictObject({ ssl: z.boolean() }));
    const { ssl } = await pool.one(row`select ssl from pg_stat_ssl where pid = pg_backend_pid()`);
    await pool.end();
    return ssl;
  } catch (error) {
    return String(error);
  }
}

test("without sslmode this machine is reached in plaintext, and disable and require do as they say", async () => {
  expect(await connect(urlWith({}))).toBe(false);
  expect(await connect(urlWith({ sslmode: "disable" }))).toBe(false);
  expect(await connect(urlWith({ sslmode: "require" }))).toBe(true);
  expect(await connect(urlWith({ sslmode: "no-verify" }))).toBe(true);
});

test("verify-ca wants the authority, verify-full also the name", async () => {
  const root = { sslrootcert: own.caFile };
  expect(await connect(urlWith({ sslmode: "verify-ca", ...root }))).toBe(true);
  expect(await connect(urlWith({ sslmode: "verify-ca", ...root }, "127.0.0.1"))).toBe(true);
  expect(await connect(urlWith({ sslmode: "verify-full", ...root }))).toBe(true);
  expect(await connect(urlWith({ sslmode: "verify-full", ...root }, "127.0.0.1"))).toMatch(/not trusted.*host name/);
});

test("a foreign authority is refused, also where a root certificate turns require into a check", async () => {
  const root = { sslrootcert: foreign.caFile };
  for (const sslmode of ["require", "verify-ca", "verify-full"]) {
    expect(await connect(urlWith({ sslmode, ...root }))).toMatch(/certificate is not trusted/);
  }
  expect(await connect(urlWith({ sslmode: "verify-full" }))).toMatch(/certificate is not trusted/);
  expect(await connect(urlWith({ sslmode: "verify-ca", sslrootcert: "/nowhere.pem" }))).toMatch(/cannot be read/);
});

test("a server without TLS is named as such", async () => {
  await using plainFolder = createTempFolder();
  await using plain = await startEmbeddedPostgres({ folder: plainFolder.path, fsync: false });
  expect(await connect(`${plain.url}?sslmode=require`)).toMatch(/offers no TLS.*sslmode=disable/);
});
