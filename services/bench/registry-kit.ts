import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { migrate } from "#platform/migrations/migrate.ts";
import { setPassword } from "#platform/migrations/roles.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { createTestIssuer } from "#platform/testing/test-issuer.ts";
import { startTestNats } from "#platform/testing/test-nats.ts";
import { startEmbeddedPostgres } from "../dev/embedded-postgres.ts";
import type { Surroundings, TestNode } from "../node-registry/testing/registry-clients.ts";
import { type RegistryProcess, serveKeySet, startRegistryProcess } from "../node-registry/testing/registry-process.ts";

/** A PostgreSQL that syncs to disk, a nats-server, and registries as processes of their own. */
export interface RegistryKit extends AsyncDisposable {
  readonly folder: string;
  readonly superuserUrl: string;
  readonly postgresPid: number;
  readonly natsPid: number;
  registry(env?: Readonly<Record<string, string>>): Promise<RegistryProcess>;
  /** The bare grpc-js echo with this node's CA. */
  echo(node: TestNode): Promise<{ readonly address: string; readonly pid: number }>;
}

export async function createRegistryKit(): Promise<RegistryKit> {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(createTempFolder()).path;
  const server = stack.use(await startEmbeddedPostgres({ folder: join(folder, "postgres") }));
  await migrate({ url: server.url, schemas: ["node_registry"], onProgress: () => {} });
  const password = randomBytes(12).toString("hex");
  await giveAppPassword(server.url, password);
  const nats = stack.use(await startTestNats());
  const issuer = await createTestIssuer();
  const auth = stack.use(await serveKeySet(issuer));
  const url = (role: string) => Object.assign(new URL(server.url), { username: role, password }).href;
  const surroundings: Surroundings = {
    db: { url },
    nats,
    issuer,
    encryptionKey: randomBytes(32).toString("base64"),
  };
  return {
    folder,
    superuserUrl: server.url,
    postgresPid: server.pid,
    natsPid: nats.pid,
    registry: async (env = {}) => stack.use(await startRegistryProcess(surroundings, auth.url, env)),
    echo: async (node) => startEcho(stack, folder, node),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function giveAppPassword(url: string, password: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await setPassword(client, "node_registry_app", password);
  } finally {
    await client.end();
  }
}

/** A node's certificate is not for servers, which grpc-js does not mind and the load generator is told to ignore. */
async function startEcho(stack: AsyncDisposableStack, folder: string, node: TestNode) {
  const { ca, certificate, privateKey } = writeTlsFiles(folder, node);
  // With the young generation that the services have: it makes the echo faster as well.
  const args = ["--max-semi-space-size=64", join(import.meta.dirname, "echo-server.ts"), ca, certificate, privateKey];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  stack.defer(() => stopChild(child));
  const [message] = await once(child, "message");
  return { address: `127.0.0.1:${Number(message.port)}`, pid: child.pid ?? 0 };
}

export function writeTlsFiles(folder: string, node: TestNode) {
  const files = {
    ca: join(folder, "ca.pem"),
    certificate: join(folder, "crt.pem"),
    privateKey: join(folder, "key.pem"),
  };
  writeFileSync(files.ca, node.ca);
  writeFileSync(files.certificate, node.certificate);
  writeFileSync(files.privateKey, node.identity.privateKey);
  return files;
}

export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

/** Microseconds of processor time that a process has used; 0 where /proc does not tell. */
export function cpuMicrosOf(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  } catch {
    return 0;
  }
}

/** Resident memory in bytes; 0 where /proc does not tell. */
export function residentBytesOf(pid: number): number {
  try {
    const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    return Number(match?.[1] ?? 0) * 1_024;
  } catch {
    return 0;
  }
}
