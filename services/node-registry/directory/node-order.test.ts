import fc from "fast-check";
import { expect, test } from "vitest";
import type { NodeStateName } from "./network-view.ts";
import { createNodeOrder } from "./node-order.ts";
import type { NodeRecord } from "./node-record.ts";

test("nodes come by node_id behind any node_id, whenever they were added, without those that left", () => {
  const nodeId = fc.stringMatching(/^[0-9a-f]{4}$/);
  const step = fc.oneof(
    fc.record({ kind: fc.constant("add" as const), nodeId }),
    fc.record({ kind: fc.constant("leave" as const), nodeId }),
    fc.record({ kind: fc.constant("read" as const), nodeId }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
      const order = createNodeOrder<NodeRecord>();
      const nodes = new Map<string, { nodeId: string; state: NodeStateName } & NodeRecord>();
      for (const { kind, nodeId } of steps) {
        const known = nodes.get(nodeId);
        if (kind === "leave" && known !== undefined) known.state = "deregistered";
        if (kind === "add" && known !== undefined) known.state = "in_service";
        if (kind === "add" && known === undefined) {
          const added = nodeOf(nodeId);
          nodes.set(nodeId, added);
          order.add(added);
        }
        if (kind === "read") expect([...order.after(nodeId)]).toEqual(expected(nodes.values(), nodeId));
      }
      expect([...order.after("")]).toEqual(expected(nodes.values(), ""));
    }),
  );
});

function expected(nodes: Iterable<NodeRecord>, after: string): NodeRecord[] {
  return [...nodes]
    .filter((node) => node.nodeId > after && node.state !== "deregistered")
    .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
}

function nodeOf(nodeId: string): { nodeId: string; state: NodeStateName } & NodeRecord {
  return {
    nodeId,
    rowId: 1n,
    address: { host: "example.org", port: 1 },
    peerNetwork: "",
    region: "",
    softwareVersion: "",
    capacityGb: 1,
    capacityBytes: 1,
    freeBytes: 0,
    usedBytes: 0,
    chunkCount: 0,
    state: "in_service",
    liveness: "online",
    isActive: true,
    reputationScore: 1,
    responsiveness: 1,
    isOnProbation: false,
    lastHeartbeat: null,
    maintenanceUntil: null,
    certificateExpiresAt: null,
    certificateAuthorityId: null,
    createdAt: Temporal.Instant.fromEpochMilliseconds(0),
    revision: 0n,
  };
}
