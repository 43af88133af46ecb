import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { exitOf, type Sandbox, spawnIn } from "./postgres-sandbox.ts";

export const superuser = "postgres";

/** Made at the first start and kept beside the data (0600). */
export function superuserPassword(sandbox: Sandbox): string {
  const file = path.join(sandbox.folder, "superuser-password");
  if (!existsSync(file)) {
    writeFileSync(file, randomBytes(24).toString("base64url"), { mode: 0o600, flag: "wx" });
  }
  return readFileSync(file, "utf8");
}

/** Made beside and renamed when complete: a start that is killed in between leaves nothing that looks like a cluster. */
export async function createCluster(sandbox: Sandbox, data: string, fsync: boolean): Promise<void> {
  const partial = `${data}.partial`;
  rmSync(partial, { recursive: true, force: true });
  const passwordFile = path.join(sandbox.folder, "initdb-password");
  rmSync(passwordFile, { force: true });
  writeFileSync(passwordFile, superuserPassword(sandbox), { mode: sandbox.account === undefined ? 0o600 : 0o644 });
  const parameters = ["-D", partial, "-U", superuser, "-A", "scram-sha-256", "--pwfile", passwordFile];
  const more = ["--locale=C", "--encoding=UTF8", "--no-instructions", ...(fsync ? [] : ["--no-sync"])];
  const child = spawnIn(sandbox, "initdb", [...parameters, ...more], [], ["ignore", "pipe", "pipe"]);
  const output: string[] = [];
  child.stdout?.on("data", (chunk) => output.push(String(chunk)));
  child.stderr?.on("data", (chunk) => output.push(String(chunk)));
  const { code } = await exitOf(child);
  rmSync(passwordFile, { force: true });
  if (code !== 0) throw new Error(`initdb failed:\n${output.join("").slice(-2_000)}`);
  renameSync(partial, data);
}

/** A start that was killed may have left its server running; two servers on one cluster are impossible. */
export async function endPredecessor(data: string): Promise<void> {
  const pidFile = path.join(data, "postmaster.pid");
  const deadline = performance.now() + 15_000;
  while (existsSync(pidFile) && performance.now() < deadline) {
    const pid = Number(readFileSync(pidFile, "utf8").split("\n")[0]);
    if (!Number.isInteger(pid) || pid <= 0 || !isServerOf(pid, data)) return;
    process.kill(pid, performance.now() > deadline - 5_000 ? "SIGQUIT" : "SIGINT");
    await delay(200);
  }
}

function isServerOf(pid: number, data: string): boolean {
  try {
    process.kill(pid, 0);
    if (process.platform !== "linux") return true;
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(data);
  } catch {
    return false;
  }
}
