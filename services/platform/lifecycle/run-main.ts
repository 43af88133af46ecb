import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { armFailpoints } from "#platform/failpoints/failpoints.ts";
import { createLogger, type Logger } from "#platform/log/logger.ts";
import { DatabaseSetupError, errorCodeOf, isDatabaseDown } from "#platform/postgres/errors.ts";
import { ListenError } from "./listening.ts";
import type { ServiceAddresses } from "./serve-service.ts";

/** What a service's start function gives: disposing it is the whole clean stop. */
export interface RunningMain extends AsyncDisposable {
  readonly addresses: ServiceAddresses;
}

const STOP_DEADLINE_MS = 25_000;
// Long enough for sockets that are closing, short enough for whoever waits for the process.
const LINGER_MS = 2_000;
const RESTART_MS = 1_000;
// Beside the packages, so that who can write it could change the code itself; where nobody can, there is no cache.
const COMPILE_CACHE = join(import.meta.dirname, "../../../node_modules/.cache/node-compile");
const SIGNAL_EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Runs a service process: starts it, tells the parent (IPC) `{ type: "ready", port, opsPort, nodeEdgePort? }`, and stops
 * it cleanly on SIGTERM, SIGINT or when the parent goes away, within 25 s. A second signal ends the process at once.
 * Whatever escapes every handler is logged and ends it too: nobody knows what state it left behind.
 *
 * `start` gets a signal that is aborted when the stop begins, also while it is still starting. What it imports itself is
 * compiled, and stripped of its types, once per machine: half of the time until a service first asks for its database.
 */
export async function runMain(
  name: string,
  start: (signal: AbortSignal) => Promise<RunningMain>,
  stopDeadlineMs = STOP_DEADLINE_MS,
): Promise<void> {
  enableCompileCache(COMPILE_CACHE);
  const log = createLogger(name, "info");
  const stopping = new AbortController();
  const stopRequested = listenForStop(log, stopping);
  process.on("uncaughtException", (error, origin) => {
    log.fatal({ err: error, origin }, "uncaught: the process ends");
    process.exit(1);
  });
  let running: RunningMain;
  try {
    armFailpoints(process.env);
    running = await startThroughOutages(start, stopping.signal, log);
  } catch (error) {
    if (stopping.signal.aborted) log.info("stopped while starting");
    else log.fatal({ err: error }, `${name} cannot start`);
    process.exitCode = stopping.signal.aborted ? 0 : 1;
    leave(log);
    return;
  }
  process.send?.({ type: "ready", ...running.addresses });
  await stopRequested;
  await stopWithinDeadline(log, running, stopDeadlineMs);
  leave(log);
}

/**
 * A start begins by waiting for the database, for a minute at most. One that it loses later, between two of its statements,
 * is waited for in the same way, since what has failed to start has left nothing behind.
 */
async function startThroughOutages(
  start: (signal: AbortSignal) => Promise<RunningMain>,
  signal: AbortSignal,
  log: Logger,
): Promise<RunningMain> {
  for (;;) {
    try {
      return await start(signal);
    } catch (error) {
      if (signal.aborted || !isLostDatabase(error)) throw error;
      log.warn({ err: error }, "the database went away during the start, starting again");
    }
    await delay(RESTART_MS, undefined, { signal });
  }
}

/** Not what waiting does not mend: a wrong setting of the database, one that never came, a wrong HOST, a missing file. */
function isLostDatabase(error: unknown): boolean {
  const isLasting = error instanceof DatabaseSetupError || error instanceof ListenError;
  return isDatabaseDown(error) && !isLasting && errorCodeOf(error) !== "ENOENT";
}

function listenForStop(log: Logger, stopping: AbortController): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = (reason: string) => {
    log.info({ reason }, "stopping");
    stopping.abort();
    resolve();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (stopping.signal.aborted) process.exit(SIGNAL_EXIT_CODES[signal]);
      stop(signal);
    });
  }
  process.once("disconnect", () => {
    if (!stopping.signal.aborted) stop("the parent process is gone");
  });
  return promise;
}

async function stopWithinDeadline(log: Logger, running: AsyncDisposable, deadlineMs: number): Promise<void> {
  const deadline = setTimeout(() => {
    log.fatal({ afterMs: deadlineMs }, "the stop takes too long: the process ends");
    process.exit(1);
  }, deadlineMs);
  try {
    await running[Symbol.asyncDispose]();
    log.info("stopped");
  } catch (error) {
    log.error({ err: error }, "the stop failed");
    process.exitCode = 1;
  } finally {
    clearTimeout(deadline);
  }
}

/** Lets the process end by itself; something that was left open is named and does not keep it. */
function leave(log: Logger): void {
  if (process.connected) process.disconnect?.();
  setTimeout(() => {
    log.warn({ resources: process.getActiveResourcesInfo() }, "something was left open");
    process.exit();
  }, LINGER_MS).unref();
}
