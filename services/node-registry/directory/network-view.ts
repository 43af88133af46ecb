/**
 * Every node of the network in memory, so that a heartbeat, a placement or a watcher asks PostgreSQL nothing.
 *
 * What changes rarely (state, liveness, address, reputation) follows the numbered change log of the directory and is
 * at most a second behind on every registry process; figures (free and used bytes, responsiveness) come with each
 * heartbeat that this process writes, those of the others' nodes within one heartbeat interval.
 */
export interface NetworkView {
  /** Directory revision up to which the view is complete. */
  readonly revision: bigint;
  /**
   * All nodes that are not deregistered, of every state and liveness: the hard rules of placement choose. The array is
   * the view's own and its entries change in place, so use it within one synchronous step and keep only node ids.
   */
  candidates(): readonly PlacementCandidate[];
  /** By node_id in hex. Undefined also means: enrolled a moment ago on another process (`findNode` asks the database). */
  node(nodeId: string): PlacementCandidate | undefined;
  nodeByRowId(rowId: bigint): PlacementCandidate | undefined;
}

export interface PlacementCandidate {
  /** 64 lowercase hex characters. */
  readonly nodeId: string;
  /** storage_nodes.id */
  readonly rowId: bigint;
  /** Declared by the node: for clients only, never for diversity. */
  readonly address: { readonly host: string; readonly port: number };
  /** The /24 or /64 that the node connects from, "" until it was seen. */
  readonly peerNetwork: string;
  readonly region: string;
  readonly capacityBytes: number;
  readonly freeBytes: number;
  readonly usedBytes: number;
  readonly state: NodeStateName;
  readonly liveness: LivenessName;
  /** 0 to 1. */
  readonly reputationScore: number;
  /** 0 to 1: how punctually its heartbeats come. */
  readonly responsiveness: number;
  readonly isOnProbation: boolean;
  /** Directory revision of its last change. */
  readonly revision: bigint;
}

/** As stored in storage_nodes.state and node_leases.liveness. */
export type NodeStateName = "in_service" | "draining" | "maintenance" | "disqualified" | "deregistered";
export type LivenessName = "never_seen" | "online" | "suspect" | "offline";
