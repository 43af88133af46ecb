import type { LivenessName } from "../directory/network-view.ts";

/** Why liveness changed: NodeLivenessCause without its prefix, in lower case, as stored. */
export type LivenessCause = "first_heartbeat" | "heartbeat_resumed" | "heartbeats_missed" | "lease_expired";

export interface LivenessChange {
  readonly rowId: bigint;
  readonly nodeId: string;
  readonly previous: LivenessName;
  readonly liveness: LivenessName;
  readonly cause: LivenessCause;
  readonly evidence: string;
  readonly lastHeartbeat: Temporal.Instant | null;
}

interface Lease {
  readonly row_id: bigint;
  readonly node_id: string;
  readonly liveness: LivenessName;
  readonly last_beat: Temporal.Instant | null;
  readonly silent_ms: number | null;
}

/** A heartbeat came from a node that was not online. */
export function backOnline(lease: Lease): LivenessChange {
  const isFirst = lease.liveness === "never_seen";
  const silence = lease.silent_ms === null ? "silence" : `${seconds(lease.silent_ms)} of silence`;
  return {
    ...identity(lease),
    liveness: "online",
    cause: isFirst ? "first_heartbeat" : "heartbeat_resumed",
    evidence: isFirst ? "first heartbeat after enrollment" : `heartbeat after ${silence}`,
  };
}

/** No heartbeat for half a lease (suspect) or a whole one (offline). */
export function silent(lease: Lease, liveness: "suspect" | "offline", leaseTtlMs: number): LivenessChange {
  const ago = lease.silent_ms === null ? "no heartbeat" : `last heartbeat ${seconds(lease.silent_ms)} ago`;
  return {
    ...identity(lease),
    liveness,
    cause: liveness === "offline" ? "lease_expired" : "heartbeats_missed",
    evidence: `${ago}, lease ${seconds(leaseTtlMs)}`,
  };
}

function identity(lease: Lease) {
  return { rowId: lease.row_id, nodeId: lease.node_id, previous: lease.liveness, lastHeartbeat: lease.last_beat };
}

function seconds(ms: number): string {
  return `${Number((ms / 1_000).toFixed(1))} s`;
}
