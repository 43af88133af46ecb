import { z } from "zod";
import type { Schema } from "#platform/config/service-config.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Clock } from "#platform/time/clock.ts";
import { backgroundOf, type Pool } from "./pool.ts";
import { sql, zInt8 } from "./sql.ts";

export interface MaintenanceOptions {
  readonly pool: Pool;
  readonly schema: Schema;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: Metrics;
  readonly signal?: AbortSignal;
}

const hourMs = 3_600_000;
const minuteMs = 60_000;

const maintainedRow = z.strictObject({
  table_name: z.string(),
  created: z.number(),
  dropped: z.number(),
  busy: z.number(),
  default_rows: zInt8,
});

const backendRow = z.strictObject({ pid: z.int() });

export type MaintainedTable = z.output<typeof maintainedRow>;

/**
 * Makes the partitions of the coming days and drops those whose time is over, at the start and then hourly; a minute
 * later where a table was in use or the database was away. Every process does this, and the database lets one at a time
 * work. Partitions are made three days ahead, so that a process may be down for days before rows reach the default
 * partition; when they do, it is logged as an error and shown by a metric.
 */
export function startMaintenance(options: MaintenanceOptions): AsyncDisposable {
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const running = run(options, signal);
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

async function run(options: MaintenanceOptions, signal: AbortSignal): Promise<void> {
  const report = reporter(options);
  while (!signal.aborted) {
    let isDone = false;
    try {
      const tables = await maintainPartitions(options.pool, options.schema, signal);
      report(tables);
      isDone = tables.every(({ busy }) => busy === 0);
    } catch (error) {
      if (signal.aborted) return;
      options.log.warn({ err: error }, "the partitions could not be maintained, trying again in a minute");
    }
    await options.clock.sleep((isDone ? hourMs : minuteMs) * (0.9 + Math.random() / 5), signal);
  }
}

/**
 * One round; no rows where another process is at it. Reading whether a large partition is over may take minutes, which no
 * stop waits for: the signal cancels the round, and the next process makes it.
 */
export async function maintainPartitions(
  pool: Pool,
  schema: Schema,
  signal?: AbortSignal,
): Promise<readonly MaintainedTable[]> {
  return pool.transaction(async (tx) => {
    const backend = await tx.oneFirst(sql.type(backendRow)`select pg_backend_pid() as pid`);
    await tx.query(sql.unsafe`set local statement_timeout = '5min'`);
    signal?.throwIfAborted();
    const cancelled = { done: Promise.resolve() };
    const cancel = () => {
      cancelled.done = cancelBackend(pool, backend);
    };
    signal?.addEventListener("abort", cancel);
    try {
      return await tx.any(sql.type(maintainedRow)`select * from ${sql.identifier([schema, "maintain_partitions"])}()`);
    } finally {
      signal?.removeEventListener("abort", cancel);
      // While the transaction is open its connection serves nobody else whom this might hit.
      await cancelled.done;
    }
  });
}

/** Where the login is a superuser's and the role ours, the server refuses, which the pool logs, and the round is waited for. */
async function cancelBackend(pool: Pool, pid: number): Promise<void> {
  await backgroundOf(pool)
    .query(sql.unsafe`select pg_cancel_backend(${pid})`)
    .catch(() => {});
}

function reporter({ log, metrics }: MaintenanceOptions): (tables: readonly MaintainedTable[]) => void {
  const gauge = metrics?.gauge({
    name: "database_default_partition_rows",
    help: "Rows for whose day there was no partition; anything above zero deserves a look.",
    labels: ["table"],
  });
  return (tables) => {
    for (const { table_name, default_rows, ...changes } of tables) {
      gauge?.set({ table: table_name }, Number(default_rows));
      if (default_rows > 0n) log.error({ table: table_name, rows: Number(default_rows) }, "rows without a partition");
      if (changes.created + changes.dropped > 0) log.info({ table: table_name, ...changes }, "partitions maintained");
    }
  };
}
