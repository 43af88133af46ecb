import type { Logger } from "#platform/log/logger.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { type ChangeRing, createChangeRing } from "./change-ring.ts";
import { type Follower, startFollower } from "./follower.worker.ts";
import { createNodeTable, type NodeTable } from "./node-table.ts";

/** Changes kept for watchers, in memory and in the database. */
export const KEPT_CHANGES = 100_000;

export interface Directory extends Pick<Follower, "caughtUp">, AsyncDisposable {
  readonly view: NodeTable;
  readonly ring: ChangeRing;
  /** Whether other processes write leases too, so that figures in the view may be a heartbeat interval old. */
  isShared(): boolean;
  /** Tells how many processes write leases; with more than one, figures of the others' nodes are read from time to time. */
  sharesWith(aliveCount: () => number): void;
}

export async function startDirectory(
  deps: { readonly pool: Pool; readonly clock: Clock; readonly log: Logger; readonly figuresPeriodMs: number },
  signal: AbortSignal,
): Promise<Directory> {
  const view = createNodeTable();
  const ring = createChangeRing(KEPT_CHANGES);
  let aliveCount = () => 1;
  const follower = await startFollower(
    {
      pool: deps.pool,
      clock: deps.clock,
      log: deps.log,
      view,
      ring,
      figuresPeriodMs: () => (aliveCount() > 1 ? deps.figuresPeriodMs : undefined),
    },
    signal,
  );
  return {
    view,
    ring,
    caughtUp: (callEnded) => follower.caughtUp(callEnded),
    isShared: () => aliveCount() > 1,
    sharesWith: (count) => {
      aliveCount = count;
    },
    [Symbol.asyncDispose]: () => follower[Symbol.asyncDispose](),
  };
}
