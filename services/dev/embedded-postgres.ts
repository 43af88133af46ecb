import type { ChildProcess } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync } from "node:fs";
import { totalmem } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { createCluster, endPredecessor, superuser, superuserPassword } from "./postgres-cluster.ts";
import {
  createSandbox,
  deathSignalPrefix,
  type Exit,
  exitOf,
  type Sandbox,
  type SandboxOptions,
  spawnIn,
  watchFromOutside,
} from "./postgres-sandbox.ts";
import { freePort } from "./start/ports.ts";

/** `folder` holds the cluster, the superuser's password (0600) and the server's log, kept between starts. */
export interface EmbeddedPostgresOptions extends SandboxOptions {
  /** A free one by default, never 5432. */
  readonly port?: number;
  /** Switched off, a crash of the machine may lose everything: for tests only. */
  readonly fsync?: boolean;
  readonly database?: string;
  readonly settings?: Readonly<Record<string, string>>;
}

export interface EmbeddedPostgres extends AsyncDisposable {
  /** The superuser's URL. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Resolves when the server has ended, wanted or not. */
  readonly exited: Promise<Exit>;
  /** Ends the server without waiting for its clients; open transactions are rolled back. */
  stop(): Promise<void>;
}

/**
 * Runs a real PostgreSQL 18 from the locked npm binaries, below any folder, as root or not. It is ready when this
 * resolves, recovers by itself after a crash, replaces a server that a killed predecessor left behind, and ends when
 * this process dies.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const sandbox = createSandbox({ ...options, folder: path.resolve(options.folder) });
  const data = path.join(sandbox.folder, "data");
  const password = superuserPassword(sandbox);
  if (!existsSync(path.join(data, "PG_VERSION"))) await createCluster(sandbox, data, options.fsync ?? true);
  else await endPredecessor(data);
  const deadline = performance.now() + 30_000;
  while (true) {
    const port = options.port ?? (await freePort());
    const server = launch(sandbox, data, port, options);
    const problem = await becomeReady(server, port, password);
    if (problem === undefined) {
      const database = options.database ?? "decentrastore";
      await ensureDatabase((name) => urlOf(port, password, name), database);
      return handleOf(server, port, urlOf(port, password, database));
    }
    // After kill -9 the orphaned backends hold the shared memory for a moment; a free port may be taken by another.
    const mayPass = /shared memory|still in use|already in use|lock file/i.test(problem);
    if (!mayPass || performance.now() > deadline) {
      throw new Error(`PostgreSQL did not start; the end of ${server.logFile}:\n${problem}`);
    }
    await delay(200);
  }
}

interface Server {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly logFile: string;
  readonly logStart: number;
}

function handleOf(server: Server, port: number, url: string): EmbeddedPostgres {
  const stop = () => endServer(server);
  return { url, port, pid: server.pid, exited: server.exited, stop, [Symbol.asyncDispose]: stop };
}

async function endServer({ child, exited }: Server): Promise<void> {
  for (const signal of ["SIGINT", "SIGQUIT", "SIGKILL"] as const) {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    const patience = new AbortController();
    await Promise.race([exited, delay(10_000, undefined, { signal: patience.signal }).catch(() => {})]);
    patience.abort();
  }
}

function urlOf(port: number, password: string, database: string): string {
  return `postgres://${superuser}:${password}@127.0.0.1:${port}/${database}`;
}

function launch(sandbox: Sandbox, data: string, port: number, options: EmbeddedPostgresOptions): Server {
  const logFolder = path.resolve(options.folder);
  mkdirSync(logFolder, { recursive: true, mode: 0o700 });
  const logFile = path.join(logFolder, "postgres.log");
  const isLong = existsSync(logFile) && statSync(logFile).size > 10_000_000;
  const log = openSync(logFile, isLong ? "w" : "a", 0o600);
  const logStart = statSync(logFile).size;
  const settings: Record<string, string> = {
    port: String(port),
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    // Three services of 30 connections, with room for commands, tests and a second instance of each.
    max_connections: "250",
    shared_preload_libraries: "pg_stat_statements",
    // After a crash, one call syncs the data instead of one for each of its thousand files.
    ...(process.platform === "linux" ? { recovery_init_sync_method: "syncfs" } : {}),
    log_timezone: "UTC",
    timezone: "UTC",
    ...(options.fsync === false
      ? { fsync: "off", full_page_writes: "off", synchronous_commit: "off" }
      : { shared_buffers: `${sharedBuffersMb()}MB`, max_wal_size: "2GB" }),
    ...options.settings,
  };
  const parameters = ["-D", data, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])];
  const deathSignal = deathSignalPrefix();
  const child = spawnIn(sandbox, "postgres", parameters, deathSignal ?? [], ["ignore", log, log]);
  closeSync(log);
  if (deathSignal === undefined && child.pid !== undefined) watchFromOutside(child.pid);
  return { child, pid: child.pid ?? 0, exited: exitOf(child), logFile, logStart };
}

/** A quarter of the memory, as PostgreSQL's manual advises, and not more than a development machine has to spare. */
function sharedBuffersMb(): number {
  return Math.max(128, Math.min(1024, Math.floor(totalmem() / 4 / 2 ** 20)));
}

/** Undefined when the server answers queries, otherwise the end of its log. */
async function becomeReady(server: Server, port: number, password: string): Promise<string | undefined> {
  let hasExited = false;
  void server.exited.then(() => {
    hasExited = true;
  });
  // Crash recovery of a large cluster takes long, and accepting connections is not yet being ready.
  const deadline = performance.now() + 120_000;
  while (!hasExited && performance.now() < deadline) {
    const client = new pg.Client({
      connectionString: urlOf(port, password, "postgres"),
      connectionTimeoutMillis: 5_000,
    });
    client.on("error", () => {});
    try {
      await client.connect();
      await client.query("select 1");
      return undefined;
    } catch (error) {
      if (error instanceof Error && Reflect.get(error, "code") === "28P01") {
        await endServer(server);
        return `the password in superuser-password does not fit the cluster in ${path.dirname(server.logFile)}`;
      }
      await delay(25);
    } finally {
      await client.end().catch(() => {});
    }
  }
  if (!hasExited) await endServer(server);
  return readFileSync(server.logFile).subarray(server.logStart).toString().slice(-2_000);
}

async function ensureDatabase(urlTo: (database: string) => string, database: string): Promise<void> {
  const identifier = pg.escapeIdentifier(database);
  const exists = await ask(urlTo("postgres"), `select from pg_database where datname = ${pg.escapeLiteral(database)}`);
  if (exists) return;
  await ask(urlTo("postgres"), `create database ${identifier}`);
  // Not every PostgreSQL comes with it.
  const hasExtension = await ask(
    urlTo(database),
    "select from pg_available_extensions where name = 'pg_stat_statements'",
  );
  if (hasExtension) await ask(urlTo(database), "create extension if not exists pg_stat_statements");
}

/** Whether there was a row. */
async function ask(url: string, statement: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(statement)).rowCount === 1;
  } finally {
    await client.end();
  }
}
