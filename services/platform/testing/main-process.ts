import { setTimeout as delay } from "node:timers/promises";
import { type RunningMain, runMain } from "#platform/lifecycle/run-main.ts";
import { serveService } from "#platform/lifecycle/serve-service.ts";
import { createLogger } from "#platform/log/logger.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { openPool, type Pool } from "#platform/postgres/pool.ts";
import { sql, zVoid } from "#platform/postgres/sql.ts";
import { implementPartly } from "./implement-partly.ts";
import { createTestIssuer } from "./test-issuer.ts";
import { TestProtocol } from "./test-protocol.ts";

const mode = process.argv[2];
let starts = 0;

/** A service process for tests of the process's life; arguments and requests say what goes wrong. */
await runMain("test-main", start, mode === "stuck" ? 300 : undefined);

async function start(signal: AbortSignal): Promise<RunningMain> {
  if (mode === "fail") throw new Error("no configuration");
  process.stdout.write("starting\n");
  starts += 1;
  if (mode === "lose" && starts === 1) await loseDatabase(signal);
  if (mode === "away") await openDatabase(signal, 300);
  if (mode === "hang") await delay(60_000, undefined, { signal });
  const { verifier } = await createTestIssuer();
  const service = implementPartly(TestProtocol, {
    unary: async ({ value }) => {
      process.stdout.write(`answering ${value}\n`);
      if (value === "crash") setImmediate(() => Promise.reject(new Error("nobody catches this")));
      await delay(Number.isNaN(Number(value)) ? 0 : Number(value));
      return { value };
    },
  });
  const running = await serveService({
    name: "test-main",
    config: { HOST: process.env.HOST || "127.0.0.1", PORT: 0, OPS_PORT: 0 },
    log: createLogger("test-main", "info"),
    metrics: createMetrics("test-main", { withProcess: true }),
    services: [service],
    verifier,
    readiness: {},
  });
  if (mode !== "stuck") return running;
  return { addresses: running.addresses, [Symbol.asyncDispose]: () => delay(60_000) };
}

/** Ends its own connection in the middle of a start. */
async function loseDatabase(signal: AbortSignal): Promise<void> {
  const pool = await openDatabase(signal);
  try {
    await pool.query(sql.type(zVoid)`select pg_terminate_backend(pg_backend_pid())`);
  } finally {
    await pool.end();
  }
}

function openDatabase(signal: AbortSignal, startTimeoutMs?: number): Promise<Pool> {
  const log = createLogger("test-main", "info");
  const patience = startTimeoutMs === undefined ? {} : { startTimeoutMs };
  return openPool({ url: process.env.DATABASE_URL ?? "", schema: "auth", log, signal, ...patience });
}
