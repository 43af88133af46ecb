import type { Logger } from "#platform/log/logger.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { renewInstance } from "./instances.store.ts";
import { type LivenessTimes, renewEveryMs } from "./times.ts";

export interface Instance extends AsyncDisposable {
  /** How many registry processes share the database, this one included, as of the last renewal. */
  aliveCount(): number;
}

/**
 * Renews this process's row, so that others know whether silence of its nodes is theirs or ours. The row stays when the
 * process ends: it is then found late, and its nodes get a full lease to come back elsewhere.
 */
export async function startInstance(
  deps: { readonly pool: Pool; readonly clock: Clock; readonly log: Logger; readonly instanceId: string },
  times: LivenessTimes,
): Promise<Instance> {
  let alive = await renewInstance(deps.pool, deps.instanceId, times);
  const stop = new AbortController();
  const running = (async () => {
    for (;;) {
      await deps.clock.sleep(renewEveryMs(times), stop.signal);
      if (stop.signal.aborted) return;
      try {
        alive = await renewInstance(deps.pool, deps.instanceId, times);
      } catch (error) {
        deps.log.warn({ err: error }, "this registry process cannot renew its row");
      }
    }
  })();
  return {
    aliveCount: () => alive,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}
