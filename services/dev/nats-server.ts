import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { openSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join, resolve } from "node:path";
import { findNatsServer, type NatsBinary } from "./nats-server-binary.ts";
import { natsAccounts } from "./nats-server-users.ts";

export { natsAccounts, natsUserNames, natsUsers } from "./nats-server-users.ts";

export interface NatsServerOptions {
  /** Keeps the configuration, the log and JetStream's data. */
  folder: string;
  /** Without it the server takes a free one. */
  port?: number;
  /** One per user of `natsUserNames`. */
  passwords: Readonly<Record<string, string>>;
  say?: (line: string) => void;
  readyTimeoutMs?: number;
  settings?: NatsServerSettings;
}

/** More configuration of the server, which wins over ours, and of its JetStream. */
export interface NatsServerSettings {
  readonly jetstream?: Readonly<Record<string, unknown>>;
  readonly [name: string]: unknown;
}

export interface NatsServer {
  readonly port: number;
  readonly pid: number;
  /** Resolves with the reason when the process has ended, asked or not. */
  readonly exited: Promise<string>;
  urlFor(user: string): string;
  stop(): Promise<void>;
}

/** Starts a nats-server with JetStream on loopback that ends with this process, however this process ends. */
export async function startNatsServer(options: NatsServerOptions): Promise<NatsServer> {
  const binary = await findNatsServer(process.env, options.say ?? (() => {}));
  const folder = resolve(options.folder);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const portsFolder = join(folder, "ports");
  await rm(portsFolder, { recursive: true, force: true });
  await mkdir(portsFolder);
  const configPath = join(folder, "nats-server.json");
  const config = natsServerConfig(binary.version, { ...options, folder, portsFolder });
  await writeFile(configPath, JSON.stringify(config, null, 2), { mode: 0o600 });
  const child = spawnTied(binary, configPath, join(folder, "nats-server.log"));
  const exited = exitOf(child);
  const pid = child.pid;
  if (pid === undefined) throw new Error(`nats-server did not start: ${await exited}`);
  try {
    const port = await ready(pid, portsFolder, exited, options.readyTimeoutMs ?? 60_000);
    return {
      port,
      pid,
      exited,
      urlFor: (user) => `nats://${user}:${encodeURIComponent(options.passwords[user] ?? "")}@127.0.0.1:${port}`,
      stop: async () => {
        child.kill("SIGTERM");
        await orKill(child, exited);
      },
    };
  } catch (cause) {
    child.kill("SIGKILL");
    const log = await readFile(join(folder, "nats-server.log"), "utf8").catch(() => "");
    throw new Error(`nats-server did not become ready. Its log ends:\n${log.split("\n").slice(-8).join("\n")}`, {
      cause,
    });
  }
}

interface ConfigOptions {
  folder: string;
  portsFolder: string;
  port?: number;
  passwords: Readonly<Record<string, string>>;
  settings?: NatsServerSettings;
}

/**
 * `sync_interval` came with 2.10, and an older server refuses a configuration that has it. It bounds what an operating
 * system crash can take from JetStream; the outbox then publishes that again.
 */
export function natsServerConfig(version: readonly [number, number], options: ConfigOptions): Record<string, unknown> {
  const hasSyncInterval = version[0] > 2 || (version[0] === 2 && version[1] >= 10);
  const { jetstream, ...settings } = options.settings ?? {};
  return {
    server_name: "decentrastore",
    host: "127.0.0.1",
    port: options.port ?? -1,
    ports_file_dir: options.portsFolder,
    max_payload: 1_048_576,
    jetstream: { store_dir: options.folder, ...(hasSyncInterval ? { sync_interval: "10s" } : {}), ...jetstream },
    accounts: natsAccounts(options.passwords),
    ...settings,
  };
}

/** A process group of its own, so that Ctrl-C at the terminal leaves the order of stopping to us. */
function spawnTied(binary: NatsBinary, configPath: string, logPath: string): ChildProcess {
  const log = openSync(logPath, "a", 0o600);
  const stdio = ["ignore", log, log] as const;
  const command = [binary.path, "-c", configPath];
  const tied = hasSetpriv() ? ["setpriv", "--pdeathsig", "TERM", "--", ...command] : command;
  const [program = binary.path, ...args] = tied;
  return spawn(program, args, { stdio: [...stdio], detached: true });
}

/** Linux lets the kernel end a child whose parent was killed; elsewhere the next start finds the orphan. */
function hasSetpriv(): boolean {
  if (process.platform !== "linux") return false;
  try {
    execFileSync("setpriv", ["--pdeathsig", "TERM", "--", "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((done) => {
    child.once("error", (error) => done(error.message));
    child.once("exit", (code, signal) => done(signal === null ? `exit code ${code}` : `signal ${signal}`));
  });
}

async function orKill(child: ChildProcess, exited: Promise<string>): Promise<void> {
  const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await exited;
  clearTimeout(timer);
}

/** The server writes the port it took into a file, and greets clients only when JetStream has read its streams. */
async function ready(pid: number, portsFolder: string, exited: Promise<string>, timeoutMs: number): Promise<number> {
  const state: { end: string | undefined } = { end: undefined };
  void exited.then((reason) => {
    state.end = reason;
  });
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline) {
    if (state.end !== undefined) throw new Error(`it ended: ${state.end}`);
    const port = await portFrom(join(portsFolder, `nats-server_${pid}.ports`));
    if (port !== undefined && (await greets(port))) return port;
    await new Promise((next) => setTimeout(next, 20));
  }
  throw new Error(`not ready within ${timeoutMs} ms`);
}

async function portFrom(path: string): Promise<number | undefined> {
  try {
    return Number(/127\.0\.0\.1:(\d+)/.exec(await readFile(path, "utf8"))?.[1]) || undefined;
  } catch {
    return undefined; // not written yet
  }
}

function greets(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    const end = (result: boolean) => {
      socket.destroy();
      done(result);
    };
    socket.setTimeout(1_000, () => end(false));
    socket.once("error", () => end(false));
    socket.once("data", (chunk) => end(chunk.toString().startsWith("INFO ")));
  });
}
