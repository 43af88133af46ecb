import { spawn } from "node:child_process";
import { closeSync, fstatSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { sendSignal } from "./processes.ts";
import type { Running } from "./supervise.ts";

const readyMessage = z.object({
  type: z.literal("ready"),
  port: z.int(),
  opsPort: z.int(),
  nodeEdgePort: z.int().optional(),
});
export type ReadyMessage = z.infer<typeof readyMessage>;

export interface ServiceProcess extends Running {
  readonly ready: ReadyMessage;
}

export interface ServiceProcessOptions {
  readonly name: string;
  /** The service's entry file. */
  readonly script: string;
  readonly env: NodeJS.ProcessEnv;
  readonly logPath: string;
  /** Aborts a start that is still waiting. */
  readonly signal: AbortSignal;
}

/** Under load most of what a service allocates lives a moment longer than V8's young generation holds by default. */
const serviceNodeOptions = ["--max-semi-space-size=64"];

const stopGraceMs = 28_000; // a service's own hard deadline is 25 s

/**
 * Starts a service as a process of its own group (a Ctrl-C in the terminal reaches only the launcher, which stops
 * things in order) and waits for its `ready` message. The channel of that message is also the service's life line:
 * it stops by itself when the launcher is gone.
 */
export async function startServiceProcess(options: ServiceProcessOptions): Promise<ServiceProcess> {
  const log = openSync(options.logPath, "a", 0o600);
  const logStart = fstatSync(log).size;
  const child = spawn(process.execPath, [...serviceNodeOptions, options.script], {
    env: options.env,
    stdio: ["ignore", log, log, "ipc"],
    detached: true,
  });
  closeSync(log);
  const exited = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  const pid = child.pid;
  if (pid === undefined) throw new Error(await exited);

  const stop = async () => {
    sendSignal(pid, "SIGTERM");
    const insist = setTimeout(() => sendSignal(pid, "SIGKILL"), stopGraceMs);
    await exited;
    clearTimeout(insist);
  };
  const ready = new Promise<ReadyMessage>((resolve) => {
    child.on("message", (message) => {
      const parsed = readyMessage.safeParse(message);
      if (parsed.success) resolve(parsed.data);
    });
  });
  options.signal.addEventListener("abort", stop);
  try {
    const first = await Promise.race([ready, exited]);
    if (typeof first === "string") {
      throw new Error(`${first}\n${await problemsIn(options.logPath, logStart)}`);
    }
    return { pid, exited, stop, ready: first };
  } finally {
    options.signal.removeEventListener("abort", stop);
  }
}

const logLine = z.object({ level: z.string(), msg: z.string(), err: z.object({ message: z.string() }).optional() });

/** Why a service ended, from what it logged since `start`. */
async function problemsIn(path: string, start: number): Promise<string> {
  const lines = (await readFile(path)).subarray(start).toString().trimEnd().split("\n");
  const problems = lines.flatMap((line) => {
    const parsed = logLine.safeParse(parseOrKeep(line));
    if (!parsed.success) return [line.slice(0, 400)]; // not a log line: Node's own complaint
    const { level, msg, err } = parsed.data;
    return ["error", "fatal"].includes(level) ? [err === undefined ? msg : `${msg}: ${err.message}`] : [];
  });
  return [...problems.slice(-8), `all of it: ${path}`].map((line) => `    ${line}`).join("\n");
}

function parseOrKeep(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return line;
  }
}
