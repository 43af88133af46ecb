import type { Logger } from "#platform/log/logger.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { type ChangeRing, createChangeRing } from "./change-ring.ts";
import { startFollower } from "./follower.worker.ts";
import { createNodeTable, type NodeTable } from "./node-table.ts";

/** Changes kept for watchers, in memory and in the database. */
export const KEPT_CHANGES = 100_000;

export interface Directory extends AsyncDisposable {
  readonly view: NodeTable;
  readonly ring: ChangeRing;
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
    sharesWith: (count) => {
      aliveCount = count;
    },
    [Symbol.asyncDispose]: () => follower[Symbol.asyncDispose](),
  };
}
