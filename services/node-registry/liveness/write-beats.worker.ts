import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "#platform/nats/connect.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import { isDatabaseUnavailable } from "#platform/postgres/errors.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { NodeRecord } from "../directory/node-record.ts";
import type { NodeTable } from "../directory/node-table.ts";
import type { FoldedBeat } from "./beat.ts";
import { type LeaseWrite, type WrittenLease, writeLeases } from "./leases.store.ts";
import { publishHeartbeat } from "./node-heartbeat.event.ts";
import type { Returns } from "./returns.worker.ts";

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

export interface BeatWriteDeps {
  readonly instanceId: string;
  readonly pool: Pool;
  readonly nats: Nats;
  readonly clock: Clock;
  readonly log: Logger;
  readonly view: NodeTable;
  readonly intervalMs: number;
  /** Figures of a flush that has been written. */
  onWritten(nodeId: string, beat: FoldedBeat): void;
}

interface FlushDeps extends BeatWriteDeps {
  /** Nodes that are heard now and were not online. */
  readonly returns: Pick<Returns, "add">;
}

export interface BeatEntry {
  readonly source: BeatSource;
  readonly beat: FoldedBeat;
}

export interface UnwrittenBeat extends BeatEntry {
  /** Whether the database refuses this one, and not all that it is given. */
  readonly isRefused: boolean;
}

/**
 * Writes and publishes one batch, sorted by row id; answers what could not be written. One node's heartbeat that the
 * database refuses must not hold up the others: halves of a refused batch are tried apart.
 */
export async function writeBeats(
  deps: FlushDeps,
  part: readonly BeatEntry[],
  counters: BeatCounters,
): Promise<readonly UnwrittenBeat[]> {
  try {
    await writePart(deps, part, counters);
    return [];
  } catch (error) {
    const isRefused = !isDatabaseUnavailable(error);
    if (part.length > 1 && isRefused) {
      const middle = Math.ceil(part.length / 2);
      const failed = await writeBeats(deps, part.slice(0, middle), counters);
      return [...failed, ...(await writeBeats(deps, part.slice(middle), counters))];
    }
    deps.log.error({ err: error, nodes: part.length }, "heartbeats cannot be written, they are kept");
    return part.map((entry) => ({ ...entry, isRefused }));
  }
}

async function writePart(deps: FlushDeps, part: readonly BeatEntry[], counters: BeatCounters): Promise<void> {
  const nowMs = deps.clock.monotonicMs();
  const written = await writeLeases(
    deps.pool,
    deps.instanceId,
    deps.intervalMs,
    part.map((entry) => toWrite(entry, nowMs)),
  );
  const leases = new Map(written.map((lease) => [lease.node_row_id, lease]));
  for (const { source, beat } of part) {
    const lease = leases.get(source.node.rowId);
    if (lease === undefined) {
      source.superseded();
      continue;
    }
    counters.heartbeats.inc(beat.count);
    if (lease.liveness !== "online") deps.returns.add(lease.node_row_id);
    deps.view.putFigures(lease.node_row_id, figuresOf(source, lease));
    deps.onWritten(source.node.nodeId, beat);
    if (!publishHeartbeat(deps, source.node.nodeId, lease, beat.count)) counters.unpublished.inc();
  }
}

function toWrite({ source, beat }: BeatEntry, nowMs: number): LeaseWrite {
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

export type BeatCounters = ReturnType<typeof createBeatCounters>;

export function createBeatCounters(metrics: Metrics) {
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
