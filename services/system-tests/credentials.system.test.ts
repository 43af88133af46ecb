import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, it } from "vitest";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { migrate } from "#platform/migrations/migrate.ts";
import { setPassword } from "#platform/migrations/roles.ts";
import { connectClient } from "#platform/postgres/client.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../dev/embedded-postgres.ts";
import { type ServiceProcess, startServiceProcess } from "../dev/start/service-process.ts";
import { transportTo } from "../dev/upload/session.ts";

// One service's database password changes while another works: real processes, on a server of their own, because roles
// belong to the whole server.

const folder = createTempFolder();
const secret = () => randomBytes(18).toString("base64url");
const [authPassword, first, second, clientSecret, encryptionKey] = [
  ...[secret(), secret(), secret(), secret()],
  randomBytes(32).toString("base64"),
] as const;
const running: ServiceProcess[] = [];
let server: EmbeddedPostgres;
let nats: TestNats;

beforeAll(async () => {
  [server, nats] = await Promise.all([startEmbeddedPostgres({ folder: folder.path, fsync: false }), startTestNats()]);
  await migrate({ url: server.url, appPasswords: { auth: authPassword, user_quota: first } });
}, 120_000);

afterAll(async () => {
  await Promise.all(running.map((service) => service.stop()));
  await Promise.all([server.stop(), nats[Symbol.asyncDispose]()]);
  await folder[Symbol.asyncDispose]();
}, 120_000);

async function start(name: "auth" | "user-quota", password: string): Promise<ServiceProcess> {
  const schema = name.replace("-", "_");
  const url = Object.assign(new URL(server.url), { username: `${schema}_app`, password }).href;
  const { DATABASE_URL: _, ...inherited } = process.env;
  const service = await startServiceProcess({
    name,
    script: `services/${name}/main.ts`,
    logPath: join(folder.path, `${name}.log`),
    signal: new AbortController().signal,
    env: {
      ...inherited,
      ...{ PORT: "0", OPS_PORT: "0", NATS_URL: nats.url(name), KEY_ENCRYPTION_KEY: encryptionKey },
      ...{ SERVICE_CLIENT_ID: name, SERVICE_CLIENT_SECRET: clientSecret, LOG_LEVEL: "debug" },
      [`${schema.toUpperCase()}_DATABASE_URL`]: url,
      DATABASE_LOG_QUERIES: "all",
    },
  });
  running.push(service);
  return service;
}

/** The arguments of every process of this machine. */
async function processList(): Promise<string> {
  if (!existsSync("/proc/self/cmdline")) return (await promisify(execFile)("ps", ["-A", "-ww", "-o", "args="])).stdout;
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return ""; // ended in the meantime
      }
    })
    .join("\n");
}

it("gives one service a new password while another goes on, and shows no secret", { timeout: 120_000 }, async () => {
  const auth = await start("auth", authPassword);
  const old = await start("user-quota", first);
  const { register } = createClient(AuthService, transportTo(`http://127.0.0.1:${auth.ready.port}`));
  let isOver = false;
  let registered = 0;
  const registering = (async () => {
    while (!isOver) {
      // Every single one has to succeed; slowly, because each address may register 100 users at once.
      await register({ username: `user-${secret()}`, password: secret() });
      registered += 1;
      await delay(250);
    }
  })();

  const client = await connectClient(server.url, { applicationName: "test" });
  await setPassword(client, "user_quota_app", second);
  await client.end();
  // Open connections go on: readiness asks the database.
  expect((await fetch(`http://127.0.0.1:${old.ready.port}/readyz`)).status).toBe(200);
  await old.stop();
  const refusal = await start("user-quota", first).then(String, String);
  expect(refusal).toContain("the database refuses the password of this login");
  const renewed = await start("user-quota", second);
  expect((await fetch(`http://127.0.0.1:${renewed.ready.port}/readyz`)).status).toBe(200);
  const soFar = registered;
  while (registered < soFar + 2) await Promise.race([registering, delay(20)]);
  isOver = true;
  await registering;
  expect(await Promise.race([auth.exited, "runs"])).toBe("runs");

  const logs = ["auth.log", "user-quota.log", "postgres.log"].map((name) =>
    readFileSync(join(folder.path, name), "utf8"),
  );
  const shown = [await processList(), refusal, ...logs].join("\n");
  expect(shown).toContain("services/auth/main.ts");
  const secrets = [authPassword, first, second, clientSecret, encryptionKey, new URL(server.url).password];
  const natsPasswords = ["auth", "user-quota"].map((user) => new URL(nats.url(user)).password);
  expect([...secrets, ...natsPasswords].filter((text) => shown.includes(text))).toEqual([]);
});
