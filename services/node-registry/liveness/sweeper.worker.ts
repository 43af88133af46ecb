import { assertLeader, type Lease, runAsLeader } from "#platform/leadership/leadership.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import { type Outbox, transact } from "#platform/outbox/outbox.ts";
import type { Pool, Transaction } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import type { NodeTable } from "../directory/node-table.ts";
import { isMassFailure, type Overdue } from "./brake.ts";
import { changeLiveness } from "./change-liveness.worker.ts";
import { findLateInstances } from "./instances.store.ts";
import { silent } from "./liveness.ts";
import {
  clampToClock,
  countOverdue,
  haltSweep,
  insertSweepHistory,
  lockSilentLeases,
  markSwept,
  type Round,
  releaseSweep,
  type SweepState,
  selectSweepState,
  warmUp,
} from "./sweep.store.ts";
import { type LivenessTimes, storedLagMs, sweepEveryMs } from "./times.ts";

const SCHEMA = "node_registry";
export const SWEEPER = "sweeper";
const BATCH = 500;

export interface SweeperDeps {
  readonly pool: Pool;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly view: NodeTable;
  /** Row ids of nodes whose heartbeats this process has answered and not written yet. */
  readonly unwritten: () => ReadonlySet<bigint>;
}

/**
 * Calls silent nodes suspect (half a lease) and offline (a whole one), in one process at a time, every second at a lease
 * of 60 s. What guards live nodes against our own faults (rule 5.4):
 * a sweep that comes late, a cold start and a jump of the database's clock begin with a warm-up of one lease; leases held
 * by a process that is late are left alone for one lease; a mass failure stops the sweep, and what is left of it when
 * enough nodes are back has one lease to return, whatever falls silent meanwhile.
 */
export function startSweeper(deps: SweeperDeps, times: LivenessTimes, signal: AbortSignal): Promise<void> {
  const halted = deps.metrics.gauge({
    name: "liveness_sweep_halted",
    help: "1 while the sweep is stopped because too many nodes fell silent at once.",
  });
  return runAsLeader({
    pool: deps.pool,
    schema: SCHEMA,
    name: SWEEPER,
    ttlMs: Math.max(500, times.lateMs),
    clock: deps.clock,
    log: deps.log,
    signal,
    work: (lease) => sweepWhileHeld(deps, times, lease, (isHalted) => halted.set(isHalted ? 1 : 0)),
  });
}

async function sweepWhileHeld(
  deps: SweeperDeps,
  times: LivenessTimes,
  lease: Lease,
  onHalted: (isHalted: boolean) => void,
): Promise<void> {
  const watch = createClockWatch(deps.clock, times.lateMs);
  while (!lease.signal.aborted && lease.isHeld()) {
    try {
      onHalted(await sweepOnce(deps, times, lease, watch));
    } catch (error) {
      if (!lease.signal.aborted) deps.log.warn({ err: error }, "the liveness sweep failed, trying again");
    }
    await deps.clock.sleep(sweepEveryMs(times), lease.signal);
  }
}

/** One round; true where the brake was on. */
async function sweepOnce(deps: SweeperDeps, times: LivenessTimes, lease: Lease, watch: ClockWatch): Promise<boolean> {
  const askedAtMs = deps.clock.monotonicMs();
  const state = await selectSweepState(deps.pool);
  await findLateInstances(deps.pool, times);
  const trouble = watch.troubleOf(state, askedAtMs);
  if (trouble !== undefined) {
    deps.log.warn({ trouble }, "nobody is called silent for one lease");
    await whileLeading(deps, lease, async (tx) => {
      if (trouble === "clock jumped") await clampToClock(tx, times.leaseTtlMs);
      await warmUp(tx, times.leaseTtlMs);
    });
    watch.accept(state, askedAtMs);
    return state.halted_at !== null;
  }
  const isWarm = state.warm_until === null || Temporal.Instant.compare(state.warm_until, state.now) <= 0;
  if (!isWarm) {
    await whileLeading(deps, lease, markSwept);
    return state.halted_at !== null;
  }
  const { leaseTtlMs } = times;
  // A heartbeat of the lease's last moment has been answered and may not be stored yet.
  const offlineAfterMs = leaseTtlMs + storedLagMs(times);
  const round = { leaseTtlMs, suspectAfterMs: leaseTtlMs / 2, offlineAfterMs, now: state.now };
  await takeDown(deps, round, lease, "suspect");
  const isHalted = await applyBrake(deps, times, lease, { state, round });
  // Who was overdue when the sweep last went on has had one lease since: nodes that come and go together, time after time,
  // do not spare the dead ones among the rest.
  const judgedAt = isHalted ? state.released_until : state.now;
  if (judgedAt !== null) await takeDown(deps, { ...round, now: judgedAt }, lease, "offline");
  await whileLeading(deps, lease, markSwept);
  return isHalted;
}

/** The brake holds across leaders, because its state is in the database. */
async function applyBrake(
  deps: SweeperDeps,
  times: LivenessTimes,
  lease: Lease,
  { state, round }: { readonly state: SweepState; readonly round: Round },
): Promise<boolean> {
  const found = await countOverdue(deps.pool, round);
  const isReleased = state.released_until !== null && Temporal.Instant.compare(state.released_until, state.now) > 0;
  if (isReleased) return false;
  if (!isMassFailure(found)) {
    if (state.halted_at === null) return false;
    await release(deps, lease, "enough nodes have returned", { releasedMs: 0, warmMs: times.leaseTtlMs });
    return true;
  }
  if (state.halted_at === null) {
    await whileLeading(deps, lease, async (tx) => {
      await haltSweep(tx, found);
      await insertSweepHistory(tx, "system", describe(found), "stopped");
    });
    deps.log.error({ ...found }, "too many nodes fell silent at once: the sweep is stopped");
    return true;
  }
  const heldMs = state.now.since(state.halted_at).total("milliseconds");
  if (heldMs < times.brakeMs) return true;
  const evidence = `stopped for ${Math.round(heldMs / 1_000)} s`;
  await release(deps, lease, evidence, { releasedMs: times.leaseTtlMs, warmMs: 0 });
  return false;
}

/** What a process that was deposed in the middle of a round still wants to write is dropped. */
async function whileLeading(deps: SweeperDeps, lease: Lease, work: (tx: Transaction) => Promise<void>): Promise<void> {
  await deps.pool.transaction(async (tx) => {
    if (await assertLeader(tx, SCHEMA, SWEEPER, lease.epoch)) await work(tx);
  });
}

interface Release {
  /** For how long no mass failure stops the sweep again. */
  readonly releasedMs: number;
  /** For how long nobody is called silent: nodes that were cut off together do not all return at the same moment. */
  readonly warmMs: number;
}

async function release(deps: SweeperDeps, lease: Lease, evidence: string, how: Release): Promise<void> {
  await whileLeading(deps, lease, async (tx) => {
    await releaseSweep(tx, how.releasedMs);
    if (how.warmMs > 0) await warmUp(tx, how.warmMs);
    await insertSweepHistory(tx, "system", evidence, "resumed");
  });
  deps.log.warn({ evidence }, "the sweep goes on");
}

function describe(found: Overdue): string {
  const together = found.silent + found.recentlyOffline;
  return `${together} of ${found.online} nodes fell silent together, the lease of ${found.expired} has run out`;
}

/** In batches, each of them only while this process leads. */
async function takeDown(deps: SweeperDeps, round: Round, lease: Lease, to: "suspect" | "offline"): Promise<void> {
  for (;;) {
    const records = await transact(deps, async (tx): Promise<NodeRecord[]> => {
      if (!(await assertLeader(tx, SCHEMA, SWEEPER, lease.epoch))) return [];
      const leases = await lockSilentLeases(tx, to, round, BATCH);
      const answered = deps.unwritten();
      const silentLeases = leases.filter(({ row_id }) => !answered.has(row_id));
      return changeLiveness(
        deps,
        tx,
        silentLeases.map((silentLease) => silent(silentLease, to, round.leaseTtlMs)),
      );
    });
    for (const record of records) deps.view.put(record);
    // Those left out may hide others behind a full batch: the next round finds them.
    if (records.length < BATCH) return;
  }
}

interface ClockWatch {
  /** Why this round must not judge anybody. Says so again until the trouble is accepted. */
  troubleOf(state: SweepState, askedAtMs: number): "cold start" | "late sweep" | "clock jumped" | undefined;
  /** What this round saw has been provided for: the next one is compared with it. */
  accept(state: SweepState, askedAtMs: number): void;
}

/** Compares the database's clock with the monotonic one of this process, round by round. */
export function createClockWatch(clock: Clock, lateMs: number): ClockWatch {
  let last: { now: Temporal.Instant; atMs: number } | undefined;
  const accept = (state: SweepState, askedAtMs: number) => {
    last = { now: state.now, atMs: askedAtMs };
  };
  const troubleSince = (before: typeof last, state: SweepState, askedAtMs: number) => {
    if (before === undefined) {
      const sinceSweptMs = state.swept_at === null ? Infinity : state.now.since(state.swept_at).total("milliseconds");
      // A sweep in the future is a clock that went back while nobody swept.
      return Math.abs(sinceSweptMs) > lateMs ? (sinceSweptMs < 0 ? "clock jumped" : "cold start") : undefined;
    }
    const elapsedMs = askedAtMs - before.atMs;
    const databaseMs = state.now.since(before.now).total("milliseconds");
    // The query itself may have taken a while on either side.
    const slackMs = lateMs / 2 + (clock.monotonicMs() - askedAtMs);
    if (Math.abs(databaseMs - elapsedMs) > slackMs) return "clock jumped";
    // A database that took so long to answer has kept heartbeats waiting as well.
    return Math.max(elapsedMs, clock.monotonicMs() - askedAtMs) > lateMs ? "late sweep" : undefined;
  };
  return {
    accept,
    troubleOf: (state, askedAtMs) => {
      const trouble = troubleSince(last, state, askedAtMs);
      if (trouble === undefined) accept(state, askedAtMs);
      return trouble;
    },
  };
}
