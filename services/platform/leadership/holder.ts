import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";

/** 12 hex digits of the scope, 8 of the pid, the rest random: an RFC 9562 UUID of version 8. */
const pattern = /^([0-9a-f]{8})-([0-9a-f]{4})-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-([0-9a-f]{8})[0-9a-f]{4}$/;

/** A name for this process that no other ever has, and from which processes of the same machine can tell its pid. */
export function holderName(): string {
  const random = randomBytes(12).toString("hex");
  const scope = processScope() ?? random.slice(12);
  const pid = process.pid.toString(16).padStart(8, "0");
  return `${scope.slice(0, 8)}-${scope.slice(8)}-8${random.slice(0, 3)}-8${random.slice(3, 6)}-${pid}${random.slice(6, 10)}`;
}

/**
 * True only when the holder is certainly gone: a process of this machine, since this boot, in this process namespace,
 * whose pid runs no more. Lets a restarted service lead again at once instead of waiting for the lease to expire.
 */
export function isCertainlyDead(holder: string): boolean {
  const match = pattern.exec(holder);
  if (match === null || `${match[1]}${match[2]}` !== processScope()) return false;
  return !isRunning(Number.parseInt(match[3] ?? "", 16));
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
  try {
    // A zombie still has its pid, until its parent has asked how it ended.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !["Z", "X"].includes(stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3));
  } catch {
    return true; // in doubt the lease is waited for
  }
}

/** This boot and this namespace of process ids; unknown where the system is not Linux. */
function processScope(): string | undefined {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    const namespace = readlinkSync("/proc/self/ns/pid");
    return createHash("sha256").update(`${boot} ${namespace}`).digest("hex").slice(0, 12);
  } catch {
    return undefined;
  }
}
