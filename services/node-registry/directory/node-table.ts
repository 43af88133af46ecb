import type { NetworkView } from "./network-view.ts";
import { createNodeOrder } from "./node-order.ts";
import type { NodeRecord } from "./node-record.ts";

/** Figures that heartbeats change without a directory change. */
export interface NodeFigures {
  readonly usedBytes: number;
  readonly freeBytes: number;
  readonly chunkCount: number;
  readonly peerNetwork: string;
  readonly responsiveness: number;
  readonly lastHeartbeat?: Temporal.Instant | null;
}

/** The nodes in memory. Readers get the entries themselves, which change in place; only this module writes them. */
export interface NodeTable extends NetworkView {
  candidates(): readonly NodeRecord[];
  node(nodeId: string): NodeRecord | undefined;
  nodeByRowId(rowId: bigint): NodeRecord | undefined;
  /** Nodes that are not deregistered by node_id, behind this one; to be read within one synchronous step. */
  after(nodeId: string): Iterable<NodeRecord>;
  /** Takes a node as it was read, unless a newer revision of it is known. Answers the entry. */
  put(record: NodeRecord): NodeRecord;
  putFigures(rowId: bigint, figures: NodeFigures): void;
  /** Tells that all changes up to this revision have been put. */
  advance(revision: bigint): void;
  /** Called with each node whose state, liveness or anything else of the directory was put. */
  onPut(listener: (record: NodeRecord) => void): void;
}

type Entry = { -readonly [K in keyof NodeRecord]: NodeRecord[K] };

export function createNodeTable(): NodeTable {
  const byNodeId = new Map<string, Entry>();
  const byRowId = new Map<bigint, Entry>();
  const present: Entry[] = [];
  const positions = new Map<Entry, number>();
  const order = createNodeOrder<Entry>();
  const listeners: ((record: NodeRecord) => void)[] = [];
  const head = { revision: 0n };

  function place(entry: Entry): void {
    const position = positions.get(entry);
    if (entry.state !== "deregistered") {
      if (position === undefined) positions.set(entry, present.push(entry) - 1);
      return;
    }
    const last = present.at(-1);
    if (position === undefined || last === undefined) return;
    // The last one fills the gap: removing from the middle of 100,000 would move them all.
    present[position] = last;
    positions.set(last, position);
    present.pop();
    positions.delete(entry);
  }

  return {
    get revision() {
      return head.revision;
    },
    candidates: () => present,
    node: (nodeId) => byNodeId.get(nodeId),
    nodeByRowId: (rowId) => byRowId.get(rowId),
    after: (nodeId) => order.after(nodeId),
    put: (record) => {
      const known = byRowId.get(record.rowId);
      if (known !== undefined && known.revision > record.revision) return known;
      const entry = known === undefined ? { ...record } : Object.assign(known, record);
      if (known === undefined) {
        byNodeId.set(entry.nodeId, entry);
        byRowId.set(entry.rowId, entry);
        order.add(entry);
      }
      place(entry);
      for (const listener of listeners) listener(entry);
      return entry;
    },
    putFigures: (rowId, figures) => {
      const entry = byRowId.get(rowId);
      if (entry !== undefined) Object.assign(entry, figures);
    },
    advance: (revision) => {
      if (revision > head.revision) head.revision = revision;
    },
    onPut: (listener) => {
      listeners.push(listener);
    },
  };
}
