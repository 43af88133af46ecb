import { create, fromBinary } from "@bufbuild/protobuf";
import { Code, type MethodImpl } from "@connectrpc/connect";
import {
  type NodeDirectoryService,
  type WatchNodesResponse,
  WatchNodesResponseSchema,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { NodeSchema } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import type { RpcError } from "#platform/rpc/errors.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Clock } from "#platform/time/clock.ts";
import { registryError } from "../errors.ts";
import type { ChangeRing, LoggedChange } from "./change-ring.ts";
import { type NodeRecord, toProtoNode } from "./node-record.ts";
import type { NodeTable } from "./node-table.ts";
import { createWatcherSlots } from "./watcher-slots.ts";

/** Each process follows the changes within a second, and is late at times. */
const FOLLOWED_WITHIN_MS = 3_000;

export interface WatchDeps {
  readonly clock: Clock;
  /** A reader that takes nothing for so long, while there is something, is dropped. */
  readonly watcherStallMs?: number;
  readonly view: NodeTable;
  readonly ring: ChangeRing;
}

/**
 * Watchers read the shared ring in memory, each at its own position: they hold no queue, ask PostgreSQL nothing, and one
 * that is too slow is overtaken and dropped.
 */
export function watchNodes(deps: WatchDeps): MethodImpl<typeof NodeDirectoryService.method.watchNodes> {
  const slots = createWatcherSlots(deps.clock, deps.watcherStallMs);
  const snapshots = createSnapshots(deps);
  return async function* (request, context) {
    validate((check) => check.int("from_revision", request.fromRevision, { min: 0n }));
    using slot = slots.take(context, tooSlow);
    let position = request.fromRevision;
    const told = new Map<string, bigint>();
    if (position === 0n) {
      const snapshot = snapshots.take();
      for (const record of snapshot.nodes) {
        slot.pulled();
        // It left while the snapshot was sent; its removal comes as a change.
        if (record.state === "deregistered") continue;
        if (record.revision > snapshot.revision) told.set(record.nodeId, record.revision);
        yield create(WatchNodesResponseSchema, { change: { case: "node", value: toProtoNode(record) } });
      }
      position = snapshot.revision;
      yield create(WatchNodesResponseSchema, { revision: position, change: { case: "snapshotEnd", value: true } });
    }
    await reached(deps.ring, position, context.signal);
    assertResumable(deps.ring, position);
    while (!context.signal.aborted) {
      slot.waits();
      await deps.ring.pushedAfter(position, context.signal);
      while (position < deps.ring.head) {
        slot.pulled();
        const change = nextChange(deps.ring, position);
        position = change.revision;
        // The snapshot had it newer already: going back to it would be a change that never was.
        if (change.revision <= (told.get(change.nodeId) ?? 0n)) continue;
        yield toResponse(change);
      }
    }
  };
}

interface Snapshot {
  readonly revision: bigint;
  readonly nodes: readonly NodeRecord[];
}

/** Watchers that begin at the same revision share the list: 100,000 references for each would be 1 MB a watcher. */
function createSnapshots(deps: WatchDeps): { take(): Snapshot } {
  let latest: WeakRef<Snapshot> | undefined;
  return {
    take: () => {
      const known = latest?.deref();
      if (known?.revision === deps.ring.head) return known;
      const snapshot = { revision: deps.ring.head, nodes: [...deps.view.candidates()] };
      latest = new WeakRef(snapshot);
      return snapshot;
    },
  };
}

function nextChange(ring: ChangeRing, position: bigint): LoggedChange {
  const change = ring.at(position + 1n);
  if (change === undefined) throw tooSlow();
  return change;
}

function toResponse({ revision, nodeId, node }: LoggedChange): WatchNodesResponse {
  if (node === null) {
    return create(WatchNodesResponseSchema, { revision, change: { case: "removedNodeId", value: nodeId } });
  }
  const value = fromBinary(NodeSchema, node);
  value.revision = revision;
  return create(WatchNodesResponseSchema, { revision, change: { case: "node", value } });
}

/** A watcher that comes from another process may be ahead of what this one has read by now. */
async function reached(ring: ChangeRing, position: bigint, signal: AbortSignal): Promise<void> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(FOLLOWED_WITHIN_MS)]);
  while (ring.head < position && !patience.aborted) await ring.pushedAfter(position - 1n, patience);
}

function assertResumable(ring: ChangeRing, position: bigint): void {
  if (position < ring.compacted) {
    throw registryError(
      Code.OutOfRange,
      "REVISION_COMPACTED",
      `changes after revision ${position} are not kept any more: watch again from 0`,
      { metadata: { compacted_revision: ring.compacted.toString() } },
    );
  }
  if (position > ring.head) {
    throw registryError(
      Code.OutOfRange,
      "REVISION_UNKNOWN",
      `revision ${position} has not been reached: watch again from 0`,
      { metadata: { revision: ring.head.toString() } },
    );
  }
}

function tooSlow(): RpcError {
  return registryError(
    Code.ResourceExhausted,
    "WATCHER_TOO_SLOW",
    "this reader fell too far behind: watch again from the last revision received",
    { retryAfterMs: 1_000 },
  );
}
