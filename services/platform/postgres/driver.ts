import type pg from "pg";
import { createDriverFactory, type DriverFactory } from "slonik";
import { createIdleLinks } from "./links.ts";
import { createOpener } from "./opener.ts";
import { createSession } from "./session.ts";

export interface DriverOptions {
  readonly config: pg.ClientConfig;
  /** A connection that was idle for longer is asked for a sign of life before a caller gets it. */
  readonly probeAfterMs: number;
  /** Longer than the server's statement timeout: without an answer by then the network lost the connection silently. */
  readonly answerTimeoutMs: number;
  /** How long after the first failure callers wait for a server that restarts; afterwards they fail at once. */
  readonly patienceMs: number;
  readonly onReconnect: () => void;
  /** A deadlock (40P01) or serialization failure (40001), which slonik answers by trying again. */
  readonly onConflict: (code: string) => void;
}

/**
 * A slonik driver over `pg` that hides the loss of a connection where that is safe.
 *
 * - Lost while idle (killed backend, restart, failover, a firewall that forgot it): replaced before the next statement.
 * - Lost inside a transaction, before COMMIT was sent: the transaction is over, and slonik calls its callback again, as
 *   it does after a deadlock.
 * - Lost by a statement outside a transaction: repeated only where the server's answer proves that it did not run.
 * - Lost by COMMIT: an error, because nobody knows whether it took effect.
 */
export function createDriver(options: DriverOptions): DriverFactory {
  const open = createOpener(options.config, options.patienceMs);
  const idle = createIdleLinks();
  return createDriverFactory(async () => ({
    createPoolClient: async ({ clientEventEmitter }) => {
      const session = createSession({
        open,
        idle,
        probeAfterMs: options.probeAfterMs,
        answerTimeoutMs: options.answerTimeoutMs,
        onReconnect: options.onReconnect,
        onConflict: options.onConflict,
        onError: (error) => clientEventEmitter.emit("error", error),
      });
      return { ...session, stream };
    },
  }));
}

function stream(): never {
  throw new Error("streaming queries are not supported: page through the rows by key");
}
