import { type ChildProcess, fork, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { z } from "zod";
import { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { UserAdminService } from "#gen/decentrastore/auth/v1/user_admin_service_pb.ts";
import { createLogger } from "#platform/log/logger.ts";
import { migrate } from "#platform/migrations/migrate.ts";
import { openPool, type Pool } from "#platform/postgres/pool.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { startTestNats, type TestNats } from "#platform/testing/test-nats.ts";
import { startEmbeddedPostgres } from "../dev/embedded-postgres.ts";

/** auth as a process of its own, with a PostgreSQL that syncs to disk and a nats-server. */
export interface AuthBench extends AsyncDisposable {
  readonly auth: Client<typeof AuthService>;
  readonly admin: Client<typeof UserAdminService>;
  readonly url: string;
  readonly opsUrl: string;
  readonly pool: Pool;
  readonly nats: TestNats;
  /** A client with a connection of its own: HTTP/2 lets one connection have only so many calls under way. */
  connect(): Client<typeof AuthService>;
  /** CPU milliseconds that the service has used; with its PostgreSQL: another figure. */
  cpuMs(): { readonly service: number; readonly postgres: number };
  rssMiB(): number;
}

export interface Infrastructure extends AsyncDisposable {
  readonly databaseUrl: string;
  readonly postgresPid: number;
  readonly nats: TestNats;
  readonly pool: Pool;
}

export const benchKey = randomBytes(32).toString("base64");

export async function startInfrastructure(): Promise<Infrastructure> {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(createTempFolder());
  const server = stack.use(await startEmbeddedPostgres({ folder: folder.path }));
  await migrate({ url: server.url, schemas: ["auth"], onProgress: () => {} });
  const nats = stack.use(await startTestNats());
  const log = createLogger("bench", process.env.LOG_LEVEL ?? "error");
  const pool = await openPool({ url: server.url, schema: "auth", log, assumeRole: true, statementTimeoutMs: 600_000 });
  stack.defer(() => pool.end());
  return {
    databaseUrl: server.url,
    postgresPid: server.pid,
    nats,
    pool,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

export async function startAuthProcess(
  infrastructure: Infrastructure,
  env: Readonly<Record<string, string>> = {},
): Promise<AuthBench> {
  const child = spawn(process.execPath, ["services/auth/main.ts"], {
    env: {
      PATH: process.env.PATH,
      PORT: "0",
      OPS_PORT: "0",
      DATABASE_URL: infrastructure.databaseUrl,
      NATS_URL: infrastructure.nats.url("auth"),
      KEY_ENCRYPTION_KEY: benchKey,
      LOG_LEVEL: process.env.LOG_LEVEL ?? "error",
      TRUSTED_PROXY_COUNT: "1",
      ...env,
    },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const [message] = await once(child, "message");
  const { port, opsPort } = z.object({ port: z.number(), opsPort: z.number() }).parse(message);
  const url = `http://127.0.0.1:${port}`;
  const transport = () => createConnectTransport({ baseUrl: url, httpVersion: "2" });
  const pid = child.pid ?? 0;
  return {
    auth: createClient(AuthService, transport()),
    admin: createClient(UserAdminService, transport()),
    url,
    opsUrl: `http://127.0.0.1:${opsPort}`,
    pool: infrastructure.pool,
    nats: infrastructure.nats,
    connect: () => createClient(AuthService, transport()),
    cpuMs: () => ({ service: cpuMsOf(pid), postgres: childrenOf(infrastructure.postgresPid) }),
    rssMiB: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024,
    [Symbol.asyncDispose]: () => stop(child),
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  await exited;
}

/** Fields 14 and 15 of /proc/<pid>/stat, in ticks of 10 ms. */
function cpuMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Its backends, and what those that ended have used. */
function childrenOf(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  const ended = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  const living = children.filter((child) => child !== "").reduce((sum, child) => sum + cpuMsOf(Number(child)), 0);
  return living + (Number(ended[13]) + Number(ended[14])) * 10;
}

/** Calls GetCurrentUser from another process until it is asked for what that took, in sorted milliseconds. */
export async function startObserver(bench: AuthBench, token: string): Promise<() => Promise<readonly number[]>> {
  const child = fork("services/bench/auth-observer.ts", [bench.url, token]);
  await once(child, "message");
  return async () => {
    const answered = once(child, "message");
    child.send("stop");
    const [latencies] = await answered;
    return z.array(z.number()).parse(latencies);
  };
}

export function address(n: number): string {
  return `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`;
}

export function from(n: number): { headers: Readonly<Record<string, string>> } {
  return { headers: { "x-forwarded-for": address(n) } };
}

/** So many callers, each of whom calls again as soon as it is answered, for so long. Returns how often. */
export async function hammer(callers: number, ms: number, call: (n: number) => Promise<unknown>): Promise<number> {
  const end = performance.now() + ms;
  let count = 0;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (performance.now() < end) {
        const n = count++;
        await call(n);
      }
    }),
  );
  return count;
}
