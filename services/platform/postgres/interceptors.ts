import type { Interceptor } from "slonik";
import type { Logger } from "#platform/log/logger.ts";
import { RowShapeError } from "./errors.ts";

/** Slonik validates nothing by itself: this parses each row by the schema of its query. */
export const rowParser: Interceptor = {
  name: "row-parser",
  transformRow: ({ resultParser }, query, row) => {
    if (resultParser === undefined) return row;
    const result = resultParser["~standard"].validate(row);
    if (result instanceof Promise) throw new TypeError("row schemas must be synchronous");
    if (result.issues !== undefined) throw new RowShapeError(result.issues, query.sql);
    return result.value as typeof row;
  },
};

export type QueryLogging = "all" | "slow" | "off";

/** Logs statements with their duration and number of rows, never with the values bound to them. */
export function queryLogger(logging: QueryLogging, slowMs: number, log: Logger): Interceptor {
  return {
    name: "query-logger",
    afterQueryExecution: ({ queryInputTime }, query, result) => {
      const durationMs = elapsedMs(queryInputTime);
      const isSlow = durationMs >= slowMs;
      if (isSlow) log.warn({ sql: oneLine(query.sql), durationMs, rows: result.rowCount }, "slow query");
      else if (logging === "all") log.info({ sql: oneLine(query.sql), durationMs, rows: result.rowCount }, "query");
      return null;
    },
    queryExecutionError: ({ queryInputTime }, query, error) => {
      const code: unknown = Reflect.get(error.cause ?? error, "code");
      log.warn(
        { sql: oneLine(query.sql), durationMs: elapsedMs(queryInputTime), type: error.name, code },
        "query failed",
      );
      return null;
    },
  };
}

function elapsedMs(since: bigint | number): number {
  return Math.round(Number(process.hrtime.bigint() - BigInt(since)) / 1e4) / 100;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim().slice(0, 1_000);
}
