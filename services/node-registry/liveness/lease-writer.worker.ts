import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "#platform/nats/connect.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import { type Outbox, transact } from "#platform/outbox/outbox.ts";
import { isDatabaseDown } from "#platform/postgres/errors.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import type { NodeTable } from "../directory/node-table.ts";
import { type BeatFigures, type FoldedBeat, foldBeat, mergeBeats, newBeat } from "./beat.ts";
import { changeLiveness } from "./change-liveness.worker.ts";
import { type LeaseWrite, lockReturningLeases, type WrittenLease, writeLeases } from "./leases.store.ts";
import { backOnline } from "./liveness.ts";
import { publishHeartbeat } from "./node-heartbeat.event.ts";

export const FLUSH_MS = 250;
const MAX_ROWS = 1_000;

/** Where heartbeats of one node come from: a stream with its epoch, or unary calls with none. */
export interface BeatSource {
  readonly node: NodeRecord;
  readonly epoch: bigint | null;
  readonly peerNetwork: string;
  /** Since the last flush. */
  folded: FoldedBeat | undefined;
  /** Called when a flush finds that a newer stream has raised the epoch. */
  superseded(): void;
}

export interface LeaseWriter extends AsyncDisposable {
  beat(source: BeatSource, figures: BeatFigures): void;
  /** For how long what was answered has not been written; 0 while everything is. */
  behindMs(): number;
  /** How long the last flush took. */
  lastFlushMs(): number;
}

export interface LeaseWriterDeps {
  readonly instanceId: string;
  readonly pool: Pool;
  readonly outbox: Outbox;
  readonly nats: Nats;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly view: NodeTable;
  readonly intervalMs: number;
  /** Figures of a flush that has been written. */
  onWritten(nodeId: string, beat: FoldedBeat): void;
}

/**
 * Writes heartbeats: all of one node within 250 ms become one row of a batch and one `node.heartbeat`. Answers are given
 * before the write, which follows within 250 ms and the time of one statement; while PostgreSQL is away heartbeats go on
 * folding (one entry per node), and `behindMs` tells callers when to stop promising. On disposal the rest is written.
 */
export function startLeaseWriter(deps: LeaseWriterDeps): LeaseWriter {
  let dirty: BeatSource[] = [];
  let firstUnwrittenAtMs: number | undefined;
  let flushMs = 0;
  const stop = new AbortController();
  const counters = createCounters(deps.metrics);

  async function flush(): Promise<void> {
    const sources = dirty;
    if (sources.length === 0) return;
    dirty = [];
    const startedAtMs = deps.clock.monotonicMs();
    const batch = sources.map((source) => take(source)).sort(byRowId);
    // A node can be there twice, by its stream and by unary calls, and one statement writes a row only once.
    const streams = batch.filter((entry) => entry.source.epoch !== null);
    const unary = batch.filter((entry) => entry.source.epoch === null);
    let isComplete = true;
    for (const part of [...slices(streams), ...slices(unary)]) {
      if (!(await writeOrPutBack(part))) isComplete = false;
    }
    if (isComplete) firstUnwrittenAtMs = dirty.length > 0 ? startedAtMs : undefined;
    flushMs = deps.clock.monotonicMs() - startedAtMs;
    counters.flushSeconds.observe(flushMs / 1_000);
  }

  /** One node's heartbeat that the database refuses must not hold up the others of its batch: halves are tried apart. */
  async function writeOrPutBack(part: readonly Entry[]): Promise<boolean> {
    try {
      await writePart(deps, part, counters);
      return true;
    } catch (error) {
      if (part.length > 1 && !isDatabaseDown(error)) {
        const middle = Math.ceil(part.length / 2);
        const isFirstWritten = await writeOrPutBack(part.slice(0, middle));
        return (await writeOrPutBack(part.slice(middle))) && isFirstWritten;
      }
      for (const entry of part) putBack(entry);
      deps.log.error({ err: error, nodes: part.length }, "heartbeats cannot be written, they are kept");
      return false;
    }
  }

  function putBack(entry: Entry): void {
    if (entry.source.folded === undefined) dirty.push(entry.source);
    entry.source.folded = mergeBeats(entry.beat, entry.source.folded);
  }

  const running = (async () => {
    while (!stop.signal.aborted) {
      await deps.clock.sleep(FLUSH_MS, stop.signal);
      await flush();
    }
  })();

  return {
    beat: (source, figures) => {
      const nowMs = deps.clock.monotonicMs();
      if (source.folded !== undefined) return foldBeat(source.folded, figures, nowMs);
      source.folded = newBeat(figures, nowMs);
      dirty.push(source);
      firstUnwrittenAtMs ??= nowMs;
    },
    behindMs: () => (firstUnwrittenAtMs === undefined ? 0 : deps.clock.monotonicMs() - firstUnwrittenAtMs),
    lastFlushMs: () => flushMs,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
      await flush();
    },
  };
}

interface Entry {
  readonly source: BeatSource;
  readonly beat: FoldedBeat;
}

function take(source: BeatSource): Entry {
  const beat = source.folded;
  if (beat === undefined) throw new Error("a heartbeat source is listed as unwritten without a heartbeat");
  source.folded = undefined;
  return { source, beat };
}

function byRowId(a: Entry, b: Entry): number {
  return a.source.node.rowId < b.source.node.rowId ? -1 : 1;
}

function slices(entries: readonly Entry[]): Entry[][] {
  return Array.from({ length: Math.ceil(entries.length / MAX_ROWS) }, (_, index) =>
    entries.slice(index * MAX_ROWS, (index + 1) * MAX_ROWS),
  );
}

async function writePart(deps: LeaseWriterDeps, part: readonly Entry[], counters: Counters): Promise<void> {
  const nowMs = deps.clock.monotonicMs();
  const written = await writeLeases(
    deps.pool,
    deps.instanceId,
    deps.intervalMs,
    part.map((entry) => toWrite(entry, nowMs)),
  );
  const leases = new Map(written.map((lease) => [lease.node_row_id, lease]));
  const returning: bigint[] = [];
  for (const { source, beat } of part) {
    const lease = leases.get(source.node.rowId);
    if (lease === undefined) {
      source.superseded();
      continue;
    }
    counters.heartbeats.inc(beat.count);
    if (lease.liveness !== "online") returning.push(lease.node_row_id);
    deps.view.putFigures(lease.node_row_id, figuresOf(source, lease));
    deps.onWritten(source.node.nodeId, beat);
    if (!publishHeartbeat(deps, source.node.nodeId, lease, beat.count)) counters.unpublished.inc();
  }
  if (returning.length > 0) await bringOnline(deps, returning);
}

/** A second transaction: the lease is renewed already, so nobody can call these nodes silent in between. */
async function bringOnline(deps: LeaseWriterDeps, rowIds: readonly bigint[]): Promise<void> {
  const records = await transact(deps, async (tx) => {
    const leases = await lockReturningLeases(tx, rowIds);
    return changeLiveness(deps, tx, leases.map(backOnline));
  });
  for (const record of records) deps.view.put(record);
}

function toWrite({ source, beat }: Entry, nowMs: number): LeaseWrite {
  const capacity = BigInt(source.node.capacityBytes);
  const { figures } = beat;
  return {
    rowId: source.node.rowId,
    epoch: source.epoch,
    ageMs: Math.max(0, nowMs - beat.receivedAtMs),
    isRestarted: beat.isRestarted,
    sequence: figures.sequence,
    usedBytes: figures.usedBytes,
    freeBytes: figures.freeBytes > capacity ? capacity : figures.freeBytes,
    chunkCount: figures.chunkCount,
    isFreeClamped: figures.freeBytes > capacity,
    chunkDigest: figures.chunkDigest ?? null,
    peerNetwork: source.peerNetwork,
  };
}

function figuresOf(source: BeatSource, lease: WrittenLease) {
  return {
    usedBytes: Number(lease.used_bytes),
    freeBytes: Number(lease.free_bytes),
    chunkCount: Number(lease.chunk_count),
    responsiveness: lease.responsiveness,
    lastHeartbeat: lease.last_beat,
    peerNetwork: source.peerNetwork === "" ? source.node.peerNetwork : source.peerNetwork,
  };
}

type Counters = ReturnType<typeof createCounters>;

function createCounters(metrics: Metrics) {
  return {
    heartbeats: metrics.counter({ name: "node_heartbeats_total", help: "Heartbeats written." }),
    unpublished: metrics.counter({
      name: "node_heartbeats_unpublished_total",
      help: "node.heartbeat events dropped because NATS was away.",
    }),
    flushSeconds: metrics.histogram({
      name: "node_heartbeat_flush_seconds",
      help: "Time to write the heartbeats of 250 ms.",
    }),
  };
}
