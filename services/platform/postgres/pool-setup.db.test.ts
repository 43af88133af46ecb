import { connect, createServer, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../dev/embedded-postgres.ts";
import { DatabaseUrl } from "../config/secret.ts";
import { createLogger } from "../log/logger.ts";
import { migrate } from "../migrations/migrate.ts";
import { setPassword } from "../migrations/roles.ts";
import { createTempFolder } from "../testing/temp-folder.ts";
import { connectClient } from "./client.ts";
import { isDatabaseDown } from "./errors.ts";
import { openPool, type PoolOptions } from "./pool.ts";
import { adviceOf } from "./setup-errors.ts";
import { sql } from "./sql.ts";

const folder = createTempFolder();
let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await startEmbeddedPostgres({ folder: folder.path, fsync: false });
});

afterAll(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

/** The user that a pool acts as, or the error, and what was logged. */
async function open(options: Partial<PoolOptions>): Promise<{ outcome: string; log: string }> {
  const lines: string[] = [];
  const log = createLogger("test", "info", { write: (line) => void lines.push(line) });
  try {
    const pool = await openPool({ url: server.url, schema: "auth", poolSize: 1, startTimeoutMs: 0, ...options, log });
    const row = sql.type(z.strictObject({ name: z.string() }));
    await pool.query(sql.unsafe`reset role`);
    const outcome = await pool.oneFirst(row`select current_user::text as name`);
    await pool.end();
    return { outcome, log: lines.join("") };
  } catch (error) {
    return { outcome: String(error), log: lines.join("") };
  }
}

async function asSuperuser(statement: string): Promise<void> {
  const client = await connectClient(server.url, { applicationName: "test" });
  await client.query(statement);
  await client.end();
}

/** Between client and server: what a pooler does with the first message. */
async function createPooler(
  onStartup: (packet: Buffer, client: Socket) => Buffer | undefined,
): Promise<AsyncDisposable & { url: string }> {
  const pooler = createServer((client) => {
    const upstream = connect(server.port, "127.0.0.1");
    for (const socket of [client, upstream]) socket.on("error", () => {});
    client.once("data", (packet) => {
      const changed = onStartup(Buffer.from(packet), client);
      if (changed === undefined) return upstream.destroy();
      upstream.write(changed);
      client.pipe(upstream);
      return upstream.pipe(client);
    });
    client.on("close", () => upstream.destroy());
  });
  await new Promise<void>((resolve) => pooler.listen(0, "127.0.0.1", resolve));
  const address = pooler.address();
  const url = new URL(server.url);
  url.port = String(typeof address === "object" ? address?.port : "");
  return { url: url.href, [Symbol.asyncDispose]: async () => void pooler.close() };
}

/** PgBouncer with ignore_startup_parameters: the startup message goes on without `options`. */
function withoutOptions(packet: Buffer): Buffer {
  const parameters = packet.subarray(8).toString().split("\0");
  const at = parameters.indexOf("options");
  if (at !== -1) parameters.splice(at, 2);
  const body = Buffer.from(parameters.join("\0"));
  const head = Buffer.alloc(8);
  head.writeInt32BE(body.length + 8, 0);
  head.writeInt32BE(packet.readInt32BE(4), 4);
  return Buffer.concat([head, body]);
}

test("before the first migration, a shared login is told to migrate", async () => {
  const { outcome } = await open({ url: new DatabaseUrl(server.url, true) });
  expect(outcome).toMatch(/role auth_app does not exist.*npm run db:migrate/);
});

test("a shared login acts with the rights of the application role only, and a warning says that this is weaker", async () => {
  await migrate({ url: server.url });
  const { outcome, log } = await open({ url: new DatabaseUrl(server.url, true) });
  expect(outcome).toBe("auth_app");
  expect(log).toContain("an own login for each service is stronger");
});

test("a login that is no member of the role is refused with the grant that it needs", async () => {
  await asSuperuser("create role stranger login password 'opensesame'");
  const url = server.url.replace(/\/postgres:[^@]+@/, "/stranger:opensesame@");
  const { outcome, log } = await open({ url: new DatabaseUrl(url, true) });
  expect(outcome).toMatch(/grant auth_app to it/);
  expect(outcome + log).not.toContain("sesame");
  await asSuperuser("grant auth_app to stranger");
  expect((await open({ url: new DatabaseUrl(url, true) })).outcome).toBe("auth_app");
});

test("a login of its own is taken as it is, with a warning where it has more rights than it needs", async () => {
  const { outcome, log } = await open({ url: new DatabaseUrl(server.url, false) });
  expect(outcome).toBe("postgres");
  expect(log).toContain("more rights than the service needs");
});

test("a pooler that drops or refuses startup options is named as the cause", async () => {
  await using dropping = await createPooler((packet) => withoutOptions(packet));
  expect((await open({ url: new DatabaseUrl(dropping.url, true) })).outcome).toMatch(/drops startup options/);
  await using refusing = await createPooler((_, client) => {
    const fields = Buffer.from("SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0");
    const head = Buffer.alloc(5);
    head.write("E");
    head.writeInt32BE(fields.length + 4, 1);
    client.end(Buffer.concat([head, fields]));
    return undefined;
  });
  expect((await open({ url: new DatabaseUrl(refusing.url, true) })).outcome).toMatch(
    /pooler refuses.*connect directly/,
  );
});

test("a wrong password, an unknown database and an unknown host are named with their cure", async () => {
  const password = await open({ url: server.url.replace(/:[^:@/]+@/, ":opensesame@") });
  expect(password.outcome).toMatch(/refuses the password/);
  expect(password.outcome + password.log).not.toContain("sesame");
  expect((await open({ url: server.url.replace(/decentrastore$/, "nothing") })).outcome).toMatch(/createdb/);
  expect((await open({ url: "postgres://a:b@nowhere.invalid/x" })).outcome).toMatch(/cannot be resolved/);
});

test("a server without a free connection is named with the settings that matter", async () => {
  await asSuperuser("alter role stranger connection limit 0");
  const url = server.url.replace(/\/postgres:[^@]+@/, "/stranger:opensesame@");
  expect((await open({ url })).outcome).toMatch(/DATABASE_POOL_SIZE.*max_connections/);
});

test("a password is rotated without a word to the other services, and open connections live on", async () => {
  const client = await connectClient(server.url, { applicationName: "test" });
  await setPassword(client, "auth_app", "first-password");
  await setPassword(client, "user_quota_app", "other-password");
  const urlOf = (role: string, password: string) => server.url.replace(/\/postgres:[^@]+@/, `/${role}:${password}@`);
  const log = createLogger("test", "silent");
  const url = urlOf("auth_app", "first-password");
  const old = await openPool({ url, schema: "auth", log, poolSize: 1, maxOverflow: 0 });
  const other = await openPool({
    url: urlOf("user_quota_app", "other-password"),
    schema: "user_quota",
    log,
    poolSize: 1,
  });
  await setPassword(client, "auth_app", "second-password");
  await old.query(sql.unsafe`select 1`);
  await Promise.all([1, 2, 3].map(() => other.query(sql.unsafe`select 1`)));
  expect((await open({ url })).outcome).toMatch(/refuses the password/);
  expect((await open({ url: urlOf("auth_app", "second-password") })).outcome).toBe("auth_app");
  await Promise.all([old.end(), other.end(), client.end()]);
});

test("a connection that is lost after its password was changed counts as a database that is away, with the cure", async () => {
  const client = await connectClient(server.url, { applicationName: "test" });
  await setPassword(client, "auth_app", "first-password");
  const url = server.url.replace(/\/postgres:[^@]+@/, "/auth_app:first-password@");
  const pool = await openPool({
    url,
    schema: "auth",
    log: createLogger("test", "silent"),
    poolSize: 2,
    maxOverflow: 1,
  });
  await setPassword(client, "auth_app", "second-password");
  await client.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'auth_app'");
  for (const call of [1, 2, 3, 4]) {
    const failure = await pool.query(sql.unsafe`select ${call}::int`).catch((error: unknown) => error);
    expect(isDatabaseDown(failure)).toBe(true);
    expect(adviceOf(failure)).toMatch(/refuses the password/);
  }
  await setPassword(client, "auth_app", "first-password");
  await pool.query(sql.unsafe`select 1`);
  await Promise.all([pool.end(), client.end()]);
});

test("pools that together ask for more than the server gives are named at the start", async () => {
  expect((await open({ poolSize: 1, maxOverflow: 200 })).log).toMatch(/may ask for 603, the server gives 247: lower/);
  expect((await open({ poolSize: 1, maxOverflow: 20 })).log).not.toContain("may ask for");
});

test("parameters of other drivers are ignored with a warning", async () => {
  const { outcome, log } = await open({ url: `${server.url}?pgbouncer=true` });
  expect(outcome).toBe("postgres");
  expect(log).toContain("pgbouncer");
});
