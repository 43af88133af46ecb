import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface NatsBinary {
  path: string;
  /** Major and minor, e.g. [2, 9]. */
  version: readonly [number, number];
}

/** JetStream as it is used here needs 2.9: pull consumers whose names stand in the subject of the request. */
const OLDEST = [2, 9] as const;

const CURE =
  "nats-server 2.9 or newer is needed: install it (Debian and Ubuntu: apt-get install nats-server, macOS: brew install " +
  "nats-server, others: https://github.com/nats-io/nats-server/releases) so that it is found on the PATH, " +
  "or set NATS_URL to a running server";

/**
 * The server's program: from the PATH, from our cache in the home folder, or fetched into that cache without root.
 * Processes that fetch at the same moment each download for themselves and put the result in place by a rename.
 */
export async function findNatsServer(env: NodeJS.ProcessEnv, say: (line: string) => void): Promise<NatsBinary> {
  const cached = join(cacheFolder(env), "nats-server");
  const candidates = [...(env.PATH ?? "").split(":").map((folder) => join(folder, "nats-server")), cached];
  const found = await firstUsable(candidates);
  if (found !== undefined) return found;
  say("nats-server is not installed: fetching it into the home folder, once");
  try {
    await fetchInto(cached, env);
  } catch (cause) {
    throw new Error(`${CURE}. Fetching it failed: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
  const fetched = await firstUsable([cached, "/opt/homebrew/bin/nats-server", "/usr/local/bin/nats-server"]);
  if (fetched === undefined) throw new Error(CURE);
  return fetched;
}

function cacheFolder(env: NodeJS.ProcessEnv): string {
  return join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), ".cache"), "decentrastore");
}

async function firstUsable(paths: readonly string[]): Promise<NatsBinary | undefined> {
  for (const path of paths) {
    const version = await versionOf(path);
    if (version === undefined) continue;
    const [major, minor] = version;
    if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return { path, version };
  }
  return undefined;
}

async function versionOf(path: string): Promise<[number, number] | undefined> {
  try {
    await access(path, constants.X_OK);
    const { stdout } = await run(path, ["--version"], { timeout: 60_000 });
    const match = /v(\d+)\.(\d+)/.exec(stdout);
    return match === null ? undefined : [Number(match[1]), Number(match[2])];
  } catch {
    return undefined; // not there, not for this machine, or not this program: the next place is looked at
  }
}

async function fetchInto(target: string, env: NodeJS.ProcessEnv): Promise<void> {
  if (process.platform === "darwin") {
    await run("brew", ["install", "nats-server"], { env, timeout: 600_000 });
    return;
  }
  const folder = cacheFolder(env);
  await mkdir(folder, { recursive: true });
  const work = await mkdtemp(join(folder, "fetch-"));
  try {
    await downloadPackage(work, env);
    const files = await readdir(work);
    const archive = files.find((name) => name.endsWith(".deb"));
    if (archive === undefined) throw new Error("apt-get download left no package");
    await run("dpkg", ["-x", archive, "unpacked"], { cwd: work, env, timeout: 60_000 });
    const draft = join(work, "nats-server");
    await copyFile(join(work, "unpacked/usr/sbin/nats-server"), draft);
    await chmod(draft, 0o755);
    await rename(draft, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** With the system's package lists where they are there and fresh enough, otherwise with lists of our own. */
async function downloadPackage(work: string, env: NodeJS.ProcessEnv): Promise<void> {
  const options = { cwd: work, env: { ...env, LC_ALL: "C" }, timeout: 300_000 };
  const own = ["-o", `Dir::State::Lists=${join(work, "lists")}`, "-o", `Dir::Cache=${join(work, "cache")}`];
  try {
    await run("apt-get", ["-q", "download", "nats-server"], options);
  } catch {
    await mkdir(join(work, "lists/partial"), { recursive: true });
    await mkdir(join(work, "cache/archives/partial"), { recursive: true });
    // A foreign source that cannot be reached makes the update incomplete, not useless: the download decides.
    await run("apt-get", ["-q", ...own, "update"], options).catch(() => {});
    await run("apt-get", ["-q", ...own, "download", "nats-server"], options);
  }
}
