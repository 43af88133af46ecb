import { runAsLeader } from "#platform/leadership/leadership.ts";
import type { Logger } from "#platform/log/logger.ts";
import { type Outbox, transact } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { changeState } from "./change-state.worker.ts";
import { compactChanges, recordNodeChanges } from "./changes.store.ts";
import { KEPT_CHANGES } from "./directory.worker.ts";
import { endProbation, pruneNodeHistory, selectEndedMaintenance, shortenProbation } from "./node-state.store.ts";
import type { NodeTable } from "./node-table.ts";

const EVERY_MS = 1_000;
const COMPACT_EVERY_MS = 30_000;
const COMPACT_BATCH = 5_000;

export interface UpkeepDeps {
  readonly pool: Pool;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Logger;
  readonly view: NodeTable;
  /** Scores below it keep a node on probation that is new no longer. */
  readonly probationBelow: number;
  /** How long a new node is on probation. */
  readonly probationMs: number;
}

/** What time does to the directory, in one process at a time: maintenance and probation end, old changes are dropped. */
export function startDirectoryUpkeep(deps: UpkeepDeps, signal: AbortSignal): AsyncDisposable {
  const stop = new AbortController();
  const running = runAsLeader({
    pool: deps.pool,
    schema: "node_registry",
    name: "directory-upkeep",
    clock: deps.clock,
    log: deps.log,
    signal: AbortSignal.any([signal, stop.signal]),
    work: async (lease) => {
      let compactedAtMs = Number.NEGATIVE_INFINITY;
      while (!lease.signal.aborted && lease.isHeld()) {
        // Each by itself: one that fails every time must not hold up the others.
        await attempt(deps, () => endMaintenance(deps));
        await attempt(deps, () => endProbations(deps));
        if (deps.clock.monotonicMs() - compactedAtMs >= COMPACT_EVERY_MS) {
          await attempt(deps, () => compact(deps, lease.signal));
          await attempt(deps, () => prune(deps, lease.signal));
          compactedAtMs = deps.clock.monotonicMs();
        }
        await deps.clock.sleep(EVERY_MS, lease.signal);
      }
    },
  });
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

async function attempt(deps: UpkeepDeps, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    deps.log.warn({ err: error }, "a part of the directory's upkeep failed, trying again");
  }
}

/** The state is checked again under the lock, so a second process or an admin in between does no harm. */
async function endMaintenance(deps: UpkeepDeps): Promise<void> {
  const now = deps.clock.now();
  for (const nodeId of await selectEndedMaintenance(deps.pool, now)) {
    await attempt(deps, async () => {
      await changeState(deps, nodeId, {
        state: "in_service",
        maintenanceUntil: null,
        reason: "maintenance ended",
        actor: "system",
        when: (node) => node.maintenance_until !== null && Temporal.Instant.compare(node.maintenance_until, now) <= 0,
      });
    });
  }
}

async function endProbations(deps: UpkeepDeps): Promise<void> {
  await shortenProbation(deps.pool, deps.clock.now(), deps.probationMs);
  const records = await transact(deps, async (tx) =>
    recordNodeChanges(tx, await endProbation(tx, deps.clock.now(), deps.probationBelow)),
  );
  for (const record of records) deps.view.put(record);
}

async function compact(deps: UpkeepDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const dropped = await deps.pool.transaction((tx) => compactChanges(tx, KEPT_CHANGES, COMPACT_BATCH));
    if (dropped < COMPACT_BATCH) break;
  }
}

async function prune(deps: UpkeepDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && (await pruneNodeHistory(deps.pool)) > 0n);
}
