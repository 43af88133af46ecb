import type { NodeRecord } from "./node-record.ts";

/** Nodes by node_id, for lists: a page begins behind any node_id, also of a node that is gone. */
export interface NodeOrder<T extends NodeRecord> {
  /** Once per node; one that deregisters stays, and its place is skipped. */
  add(node: T): void;
  /** Those that are not deregistered, from the first above this node_id; "" begins at the first. */
  after(nodeId: string): Iterable<T>;
}

/**
 * A sorted array and the nodes that came since it was sorted: filling it with 100,000 nodes is one sort, and a newcomer
 * costs the next list one pass over references.
 */
export function createNodeOrder<T extends NodeRecord>(): NodeOrder<T> {
  let sorted: readonly T[] = [];
  let added: T[] = [];

  function inOrder(): readonly T[] {
    if (added.length > 0) sorted = merge(sorted, added.sort(byNodeId));
    added = [];
    return sorted;
  }

  return {
    add: (node) => {
      added.push(node);
    },
    after: function* (nodeId) {
      const nodes = inOrder();
      for (let index = firstAbove(nodes, nodeId); index < nodes.length; index += 1) {
        const node = nodes[index];
        if (node !== undefined && node.state !== "deregistered") yield node;
      }
    },
  };
}

function firstAbove(nodes: readonly NodeRecord[], nodeId: string): number {
  let low = 0;
  let high = nodes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((nodes[middle]?.nodeId ?? "") > nodeId) high = middle;
    else low = middle + 1;
  }
  return low;
}

function merge<T extends NodeRecord>(left: readonly T[], right: readonly T[]): T[] {
  const merged: T[] = [];
  let at = 0;
  for (const node of left) {
    for (let next = right[at]; next !== undefined && next.nodeId < node.nodeId; next = right[at]) {
      merged.push(next);
      at += 1;
    }
    merged.push(node);
  }
  for (const node of right.slice(at)) merged.push(node);
  return merged;
}

function byNodeId(a: NodeRecord, b: NodeRecord): number {
  return a.nodeId < b.nodeId ? -1 : 1;
}
