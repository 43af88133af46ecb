import { startConsumer } from "#platform/inbox/consumer.worker.ts";
import { runAsLeader } from "#platform/leadership/leadership.ts";
import type { Nats } from "#platform/nats/connect.ts";
import { isDatabaseDown } from "#platform/postgres/errors.ts";
import { createAvailabilityRounds } from "../chunks/availability.worker.ts";
import type { LoadedDeletions } from "../chunks/deletion-turns.ts";
import { endDueUploads } from "../chunks/end-uploads.worker.ts";
import { readBusyNodes } from "../chunks/holdings.store.ts";
import type { NodeCommands } from "../chunks/node-commands.ts";
import { compareDigests, loadDeletions } from "../chunks/node-commands.worker.ts";
import { onUserDeleted } from "../chunks/on-user-deleted.event.ts";
import { type ExchangePauses, exchangeForGoneNodes } from "./exchange.worker.ts";
import type { PlacementDeps } from "./place-chunks.rpc.ts";
import { sweepPlacements } from "./upload-sweeper.worker.ts";
import { purgeDeletedUsers } from "./user-purge.worker.ts";

const SCHEMA = "node_registry";
const BUSY_MS = 1_000;
// Reading what nodes have to do may take this share of the time: a very large network reads it less often.
const BUSY_SHARE = 0.05;
const SWEEP_MS = 5_000;
const FOLLOW_MS = 500;

interface WorkerDeps extends PlacementDeps {
  readonly commands: NodeCommands;
  readonly nats: Nats;
}

/** The loops of the chunk rooms: what each process keeps in memory, and what one of them does for all. */
export async function startChunkWorkers(deps: WorkerDeps, signal: AbortSignal): Promise<AsyncDisposable> {
  const stop = new AbortController();
  const ending = AbortSignal.any([signal, stop.signal]);
  const changed = new Set<bigint>();
  const pauses: ExchangePauses = new Map();
  deps.view.onPut((node) => changed.add(node.rowId));
  const lead = (name: string, work: (signal: AbortSignal) => Promise<void>) =>
    runAsLeader({ ...deps, schema: SCHEMA, name, signal: ending, work: (lease) => work(lease.signal) });
  const loops = [
    followBusyNodes(deps, ending),
    lead("chunk-sweeper", (led) => repeat(deps, led, SWEEP_MS, () => sweep(deps, pauses, led))),
    // A user can have thousands of uploads, for which nobody else shall wait.
    lead("user-purge", (led) => repeat(deps, led, SWEEP_MS, () => purgeDeletedUsers(deps, led))),
    lead("chunk-availability", (led) => {
      const follow = createAvailabilityRounds(deps, changed);
      return repeat(deps, led, FOLLOW_MS, async () => {
        await follow(led);
        return false;
      });
    }),
  ];
  const consumer = startConsumer({
    ...deps,
    schema: SCHEMA,
    stream: "USERS",
    durable: "node-registry-users",
    apply: onUserDeleted(deps),
    signal: ending,
  });
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await consumer[Symbol.asyncDispose]();
      await Promise.all(loops);
    },
  };
}

async function sweep(deps: WorkerDeps, pauses: ExchangePauses, signal: AbortSignal): Promise<boolean> {
  const isMoreToEnd = await endDueUploads(deps, signal);
  const isMoreToSweep = await sweepPlacements(deps);
  await exchangeForGoneNodes(deps, pauses, signal);
  return isMoreToEnd || isMoreToSweep;
}

/** Runs until the signal aborts: at once again while there is more to do. Failures are logged and tried again. */
async function repeat(
  deps: Pick<WorkerDeps, "clock" | "log" | "random">,
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

/** Other processes assign, confirm and delete too: what this one knows is corrected about once a second. */
async function followBusyNodes(deps: WorkerDeps, signal: AbortSignal): Promise<void> {
  const loaded: LoadedDeletions = new Map();
  while (!signal.aborted) {
    const startedAtMs = deps.clock.monotonicMs();
    try {
      deps.placer.readingAssigned();
      const busy = await readBusyNodes(deps.pool);
      deps.placer.replaceAssigned(new Map(busy.map((row) => [row.node_id, Number(row.assigned_bytes)])));
      await loadDeletions(deps, { busy, readAtMs: startedAtMs }, loaded);
      await compareDigests(deps);
      deps.commands.forgetSilent(deps.config.NODE_LEASE_TTL);
    } catch (error) {
      deps.log.warn({ err: error }, "what nodes have to do cannot be read, trying again");
    }
    const tookMs = deps.clock.monotonicMs() - startedAtMs;
    await deps.clock.sleep(Math.max(BUSY_MS, tookMs / BUSY_SHARE), signal);
  }
}
