import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { z } from "zod";

/** A process as it can be found again later: the pid alone could by then belong to another program. */
export const recordedProcess = z.object({ name: z.string(), pid: z.int(), startedAt: z.string() });
export type RecordedProcess = z.infer<typeof recordedProcess>;

const run = promisify(execFile);

/** When a living process began, in the system's own notation; undefined when there is none. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  try {
    if (process.platform === "linux") {
      const stat = await readFile(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return fields[0] === "Z" ? undefined : fields[19]; // field 22 of proc(5): start time in clock ticks
    }
    const { stdout } = await run("ps", ["-o", "lstart=", "-p", String(pid)]);
    return stdout.trim() || undefined;
  } catch {
    return undefined; // no such process
  }
}

export async function record(name: string, pid: number): Promise<RecordedProcess | undefined> {
  const startedAt = await startTimeOf(pid);
  return startedAt === undefined ? undefined : { name, pid, startedAt };
}

export async function isStillRunning(recorded: RecordedProcess): Promise<boolean> {
  return (await startTimeOf(recorded.pid)) === recorded.startedAt;
}

/** Asks the process to end, insists after `graceMs`, and returns once it is gone. */
export async function end(recorded: RecordedProcess, graceMs: number): Promise<void> {
  for (const [signal, waitMs] of [["SIGTERM", graceMs] as const, ["SIGKILL", 5_000] as const]) {
    if (!(await isStillRunning(recorded))) return;
    sendSignal(recorded.pid, signal);
    for (let waited = 0; waited < waitMs; waited += 50) {
      if (!(await isStillRunning(recorded))) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error(`process ${recorded.pid} (${recorded.name}) of an earlier start does not end`);
}

/** Signals a process that may have ended in the meantime. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
