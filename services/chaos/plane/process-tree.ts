import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { sendSignal } from "../../dev/start/processes.ts";

const run = promisify(execFile);

/** The process and everything below it; PostgreSQL's backends are processes of their own. */
export async function treeOf(pid: number): Promise<number[]> {
  const { stdout } = await run("ps", ["-A", "-o", "pid=,ppid="]);
  const childrenOf = new Map<number, number[]>();
  for (const line of stdout.trim().split("\n")) {
    const [child = 0, parent = 0] = line.trim().split(/\s+/).map(Number);
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), child]);
  }
  const below = (one: number): number[] => [one, ...(childrenOf.get(one) ?? []).flatMap(below)];
  return below(pid);
}

/** SIGSTOP for all of them, the parent first so that it starts no more; the answer sends SIGCONT. */
export async function pauseTree(pid: number): Promise<() => void> {
  sendSignal(pid, "SIGSTOP");
  const pids = await treeOf(pid);
  for (const one of pids) sendSignal(one, "SIGSTOP");
  return () => {
    for (const one of pids) sendSignal(one, "SIGCONT");
  };
}

/** 0 where the system does not tell. */
export function residentMiB(pid: number): number {
  try {
    const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return Math.round(Number(kib ?? 0) / 1_024);
  } catch {
    return 0;
  }
}

/** Processor time since its start, which other programs do not lengthen; 0 where the system does not tell. */
export function processorMs(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // Behind the name, which may hold anything: utime and stime in hundredths of a second.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * 10;
  } catch {
    return 0;
  }
}

/** Open files and sockets; 0 where the system does not tell. */
export function handlesOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}
