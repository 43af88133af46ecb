import type { Metrics } from "#platform/ops/metrics.ts";
import { type BeatFigures, foldBeat, mergeBeats, newBeat } from "./beat.ts";
import { createReturns, type ReturnDeps } from "./returns.worker.ts";
import {
  type BeatEntry,
  type BeatSource,
  type BeatWriteDeps,
  createBeatCounters,
  type UnwrittenBeat,
  writeBeats,
} from "./write-beats.worker.ts";

export const FLUSH_MS = 250;
const MAX_ROWS = 1_000;

export interface LeaseWriter extends AsyncDisposable {
  beat(source: BeatSource, figures: BeatFigures): void;
  /** For how long what was answered has not been written; 0 while everything is. */
  behindMs(): number;
  /** Row ids of nodes that were answered and are not written yet. */
  unwritten(): ReadonlySet<bigint>;
  /** How long the last flush took. */
  lastFlushMs(): number;
}

export interface LeaseWriterDeps extends BeatWriteDeps, ReturnDeps {
  readonly metrics: Metrics;
}

/**
 * Writes heartbeats: all of one node within 250 ms become one row of a batch and one `node.heartbeat`. Answers are given
 * before the write, which follows within 250 ms and the time of one statement; while PostgreSQL is away heartbeats go on
 * folding (one entry per node), and `behindMs` tells callers when to stop promising. On disposal the rest is written.
 */
export function startLeaseWriter(deps: LeaseWriterDeps): LeaseWriter {
  let dirty: BeatSource[] = [];
  let underWay: readonly BeatSource[] = [];
  let firstUnwrittenAtMs: number | undefined;
  let flushMs = 0;
  const stop = new AbortController();
  const counters = createBeatCounters(deps.metrics);
  const returns = createReturns(deps);

  async function flush(): Promise<void> {
    const sources = dirty;
    if (sources.length === 0) return returns.bring();
    dirty = [];
    underWay = sources;
    const startedAtMs = deps.clock.monotonicMs();
    const batch = sources.map((source) => take(source)).sort(byRowId);
    // A node can be there twice, by its stream and by unary calls, and one statement writes a row only once.
    const streams = batch.filter((entry) => entry.source.epoch !== null);
    const unary = batch.filter((entry) => entry.source.epoch === null);
    const unwritten: UnwrittenBeat[] = [];
    for (const part of [...slices(streams), ...slices(unary)]) {
      unwritten.push(...(await writeBeats({ ...deps, returns }, part, counters)));
    }
    for (const entry of unwritten) putBack(entry);
    underWay = [];
    // What is refused where others were written would be refused elsewhere too: no reason to send all nodes away.
    const isComplete = unwritten.length < batch.length && unwritten.every((entry) => entry.isRefused);
    if (isComplete) firstUnwrittenAtMs = dirty.length > 0 ? startedAtMs : undefined;
    await returns.bring();
    flushMs = deps.clock.monotonicMs() - startedAtMs;
    counters.flushSeconds.observe(flushMs / 1_000);
  }

  function putBack(entry: BeatEntry): void {
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
    unwritten: () => new Set([...underWay, ...dirty].map((source) => source.node.rowId)),
    lastFlushMs: () => flushMs,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
      await flush();
    },
  };
}

function take(source: BeatSource): BeatEntry {
  const beat = source.folded;
  if (beat === undefined) throw new Error("a heartbeat source is listed as unwritten without a heartbeat");
  source.folded = undefined;
  return { source, beat };
}

function byRowId(a: BeatEntry, b: BeatEntry): number {
  return a.source.node.rowId < b.source.node.rowId ? -1 : 1;
}

function slices(entries: readonly BeatEntry[]): BeatEntry[][] {
  return Array.from({ length: Math.ceil(entries.length / MAX_ROWS) }, (_, index) =>
    entries.slice(index * MAX_ROWS, (index + 1) * MAX_ROWS),
  );
}
