import { readdirSync, readFileSync } from "node:fs";
import { z } from "zod";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";

const pidRow = z.strictObject({ pid: z.number() });
const TICK_MICROS = 10_000;

/**
 * Microseconds of processor time that the server's processes have used so far; 0 where /proc does not tell. On a machine
 * that others use too, this says more about a statement than its duration.
 */
export async function postgresCpuMicros(pool: Pool): Promise<number> {
  const { pid } = await pool.one(sql.type(pidRow)`select pg_backend_pid() as pid`);
  const server = statOf(pid)?.parent;
  return server === undefined ? 0 : treeCpuMicros(server);
}

/** The same of a process and its children, running or ended. */
export function treeCpuMicros(parent: number): number {
  let ticks = 0;
  for (const entry of readdirSync("/proc")) {
    const stat = /^\d+$/.test(entry) ? statOf(Number(entry)) : undefined;
    if (stat !== undefined && (stat.parent === parent || Number(entry) === parent)) ticks += stat.ticks;
  }
  return ticks * TICK_MICROS;
}

function statOf(pid: number): { parent: number; ticks: number } | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    // Fields 4 (parent), 14 and 15 (user and system time), 16 and 17 (those of ended children) of proc(5).
    return { parent: Number(fields[1]), ticks: fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0) };
  } catch {
    return undefined;
  }
}
