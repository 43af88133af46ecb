import { runAsLeader } from "#platform/leadership/leadership.ts";
import { togetherOrOneByOne } from "../chunks/one-by-one.worker.ts";
import { listUnderReplicated, type UnderReplicatedRow, type UrgencyCursor } from "../chunks/under-replicated.store.ts";
import { countBeingSent } from "./being-sent.worker.ts";
import { type DepartureWalk, recordDepartures } from "./departures.worker.ts";
import { type DrainWalk, emptyDraining } from "./drains.worker.ts";
import { endRepairs, sortOutRepairs } from "./end-repairs.worker.ts";
import { moveOff } from "./move-off.worker.ts";
import { findPaused, pause } from "./pauses.worker.ts";
import type { RepairDeps } from "./repair-deps.ts";
import { type OpenRepair, readRepairs } from "./repairs.store.ts";
import { startRepairs } from "./start-repairs.worker.ts";
import { missingReplicas } from "./urgency.ts";

const ROUND_MS = 1_000;
const PAGE = 1_000;
const PAGES_PER_ROUND = 5;
const CHUNKS_PER_TRANSACTION = 100;
// Every so many rounds the list is looked at from its top, so that what became urgent meanwhile does not wait for the walk.
const ROUNDS_PER_TOP = 10;
// Chunks without a live replica head the list, cannot be copied from anywhere, and may be any number: behind them.
const TOP: UrgencyCursor = {
  liveReplicas: 1,
  wantedReplicas: 32_767,
  since: Temporal.Instant.fromEpochMilliseconds(0),
  chunkHash: "",
};

// Looking for departed nodes goes through all of them (100,000: some tens of milliseconds).
const DEPARTURES_MS = 10_000;

/**
 * Where the walks through the under-replicated chunks and the draining nodes are, and when to look for departed ones. The
 * walk goes through the whole list, however much of it cannot be helped at the moment.
 */
export interface Walk {
  after: UrgencyCursor | undefined;
  rounds: number;
  departuresAtMs: number;
  readonly departures: DepartureWalk;
  readonly drains: DrainWalk;
}

export function newWalk(): Walk {
  return {
    after: undefined,
    rounds: 0,
    departuresAtMs: Number.NEGATIVE_INFINITY,
    departures: { after: new Map(), held: 0 },
    drains: new Map(),
  };
}

/**
 * Plans repairs in one process at a time. A successor finds everything in the database, and goes on. Replicas beyond the
 * wanted ones, which a node that comes back has, are left: they cost the owner nothing, spare the next repair, and go with
 * the chunk's release or their node.
 */
export async function runPlanner(deps: RepairDeps, signal: AbortSignal): Promise<void> {
  await runAsLeader({
    ...deps,
    schema: "node_registry",
    name: "repair-planner",
    signal,
    work: async (lease) => {
      const walk = newWalk();
      while (!lease.signal.aborted && lease.isHeld()) {
        try {
          if (await planOnce(deps, walk)) continue;
        } catch (error) {
          deps.log.warn({ err: error }, "repairs cannot be planned, trying again");
        }
        await deps.clock.sleep(ROUND_MS, lease.signal);
      }
    },
  });
}

/** One round; true while replicas of departed nodes are still to be counted. */
export async function planOnce(deps: RepairDeps, walk: Walk): Promise<boolean> {
  const nowMs = deps.clock.monotonicMs();
  const isMore = nowMs >= walk.departuresAtMs && (await recordDepartures(deps, walk.departures));
  if (!isMore && nowMs >= walk.departuresAtMs) {
    walk.departuresAtMs = nowMs + Math.min(DEPARTURES_MS, deps.config.REPAIR_OFFLINE_AFTER / 10);
  }
  const repairs = await readRepairs(deps.pool);
  const ended = sortOutRepairs(deps, repairs);
  await endRepairs(deps, ended);
  for (const isRefused of [true, false]) {
    const failed = ended.failed.filter((repair) => repair.isRefused === isRefused);
    await pause(
      deps,
      failed.map((repair) => repair.chunkHash),
      isRefused,
    );
  }
  await togetherOrOneByOne(
    deps,
    ended.done.map((repair) => repair.chunkHash),
    (hashes) => moveOff(deps, hashes),
    (chunkHash) => chunkHash,
  );
  const isEnded = new Set([...ended.done, ...ended.failed]);
  const open = repairs.filter((repair) => !isEnded.has(repair));
  const perNode = new Map<bigint, number>();
  for (const { nodeRowId } of open) perNode.set(nodeRowId, (perNode.get(nodeRowId) ?? 0) + 1);
  const room = await startUrgent(deps, walk, open, perNode);
  await emptyDraining(deps, walk.drains, { room: room - Math.floor(deps.config.REPAIR_MAX_OPEN / 2), perNode });
  return isMore;
}

/** Answers how many more may be under way. */
async function startUrgent(
  deps: RepairDeps,
  walk: Walk,
  open: readonly OpenRepair[],
  perNode: Map<bigint, number>,
): Promise<number> {
  let room = deps.config.REPAIR_MAX_OPEN - open.length;
  walk.rounds += 1;
  const isFromTop = walk.rounds % ROUNDS_PER_TOP === 0;
  let after = isFromTop ? undefined : walk.after;
  for (let page = 0; page < PAGES_PER_ROUND && room > 0; page += 1) {
    const { needy, next } = await nextNeedy(deps, after ?? TOP, open);
    let position = 0;
    while (position < needy.length && room > 0) {
      const some = needy.slice(position, position + Math.min(room, CHUNKS_PER_TRANSACTION));
      const hashes = some.map((row) => row.chunk_hash);
      const { started, stuck } = await startRepairs(deps, hashes, perNode);
      room -= started.length;
      position += some.length;
      await pause(deps, stuck);
    }
    const last = needy[position - 1];
    after = position < needy.length && last !== undefined ? cursorOf(last) : next;
    if (after === undefined) break;
  }
  if (!isFromTop) walk.after = after;
  return room;
}

/**
 * The next page of the list, without what is paused, being repaired or being sent already: under load most of the list are
 * chunks that reached their quorum a moment ago, whose locks belong to the reports that are still to come. `next` is
 * undefined behind the last one.
 */
async function nextNeedy(
  deps: RepairDeps,
  after: UrgencyCursor,
  open: readonly OpenRepair[],
): Promise<{ needy: UnderReplicatedRow[]; next: UrgencyCursor | undefined }> {
  const rows = await listUnderReplicated(deps.pool, after, PAGE);
  const last = rows.at(-1);
  const fetching = Map.groupBy(open, (repair) => repair.chunkHash);
  const beingSent = await countBeingSent(
    deps,
    deps.pool,
    rows.map((row) => row.chunk_hash),
  );
  const needy = rows.filter((row) => {
    const chunk = {
      chunkHash: row.chunk_hash,
      liveReplicas: row.live_replicas,
      confirmedReplicas: row.confirmed_replicas,
      wantedReplicas: row.wanted_replicas,
    };
    const sent = beingSent.get(row.chunk_hash) ?? 0;
    return missingReplicas(chunk, fetching.get(row.chunk_hash)?.length ?? 0, sent) > 0;
  });
  const hashes = needy.map((row) => row.chunk_hash);
  const paused = await findPaused(deps, hashes);
  return {
    needy: needy.filter((row) => !paused.has(row.chunk_hash)),
    next: rows.length < PAGE || last === undefined ? undefined : cursorOf(last),
  };
}

function cursorOf(row: UnderReplicatedRow): UrgencyCursor {
  return {
    liveReplicas: row.live_replicas,
    wantedReplicas: row.wanted_replicas,
    since: row.since,
    chunkHash: row.chunk_hash,
  };
}
