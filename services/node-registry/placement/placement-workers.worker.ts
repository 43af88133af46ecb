import { runAsLeader } from "#platform/leadership/leadership.ts";
import { isDatabaseDown } from "#platform/postgres/errors.ts";
import { readBusyNodes } from "../chunks/holdings.store.ts";
import type { Deps } from "../deps.ts";
import type { Placer } from "./placer.ts";
import { sweepPlacements } from "./upload-sweeper.worker.ts";

const SWEEP_MS = 5_000;
const ASSIGNED_MS = 1_000;
// Reading what is assigned may take this share of the time, so that a very large network reads it less often.
const ASSIGNED_SHARE = 0.05;

interface WorkerDeps extends Deps {
  readonly placer: Placer;
}

/** The loops of placement: assigned bytes in every process, the sweeper in one of them. */
export async function startPlacementWorkers(deps: WorkerDeps, signal: AbortSignal): Promise<AsyncDisposable> {
  const stop = new AbortController();
  const ending = AbortSignal.any([signal, stop.signal]);
  const loops = [
    followAssigned(deps, ending),
    runAsLeader({
      ...deps,
      schema: "node_registry",
      name: "placement-sweeper",
      signal: ending,
      work: (lease) => repeat(deps, lease.signal, SWEEP_MS, () => sweepPlacements(deps)),
    }),
  ];
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await Promise.all(loops);
    },
  };
}

/** Runs until the signal aborts: at once again while there is more to do. Failures are logged and tried again. */
async function repeat(
  deps: Pick<Deps, "clock" | "log" | "random">,
  signal: AbortSignal,
  periodMs: number,
  round: () => Promise<boolean>,
): Promise<void> {
  while (!signal.aborted) {
    try {
      if (await round()) continue;
    } catch (error) {
      deps.log[isDatabaseDown(error) ? "warn" : "error"]({ err: error }, "a round of the chunk workers failed");
    }
    await deps.clock.sleep(periodMs * (0.75 + deps.random() / 2), signal);
  }
}

/** Other processes assign and confirm too: what this one knows is corrected about once a second. */
async function followAssigned(deps: WorkerDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const startedAtMs = deps.clock.monotonicMs();
    try {
      const rows = await readBusyNodes(deps.pool);
      deps.placer.replaceAssigned(new Map(rows.map((row) => [row.node_id, Number(row.assigned_bytes)])));
    } catch (error) {
      deps.log.warn({ err: error }, "assigned bytes cannot be read, trying again");
    }
    const tookMs = deps.clock.monotonicMs() - startedAtMs;
    await deps.clock.sleep(Math.max(ASSIGNED_MS, tookMs / ASSIGNED_SHARE), signal);
  }
}
