import { quorumOf } from "./quorum.ts";

/** A chunk as it is under its row lock. */
export interface LockedChunk {
  readonly chunkHash: string;
  readonly ownerId: string;
  readonly sizeBytes: bigint;
  readonly generation: number;
  readonly wantedReplicas: number;
  readonly confirmedReplicas: number;
  readonly liveReplicas: number;
  readonly payingUploadId: string;
  readonly reservationId: string | null;
  readonly hasQuorum: boolean;
  readonly isReleased: boolean;
  readonly eventVersion: bigint;
}

/** assigned: the node may confirm it; lost: it had confirmed, was shut out, and may confirm again. */
export type ReplicaState = "assigned" | "confirmed" | "lost";

export interface KnownReplica {
  readonly state: ReplicaState;
  readonly blockIndex: number;
  /** Assigned by repair and not for an upload. */
  readonly isRepair: boolean;
}

/** Why a node was told to delete a chunk: what a late report of it is answered with. */
export type DeletionCause = "released" | "upload_expired" | "not_placed";

export interface StoredReport {
  /** storage_nodes.id of the node that speaks. */
  readonly nodeRowId: bigint;
  readonly chunkHash: string;
  /** Undefined where the node did not say. */
  readonly sizeBytes: bigint | undefined;
}

export type StoredOutcome = "confirmed" | "already_confirmed" | "wrong_size" | DeletionCause;

/** A replica that counts from now on, with the numbers of its event. */
export interface Confirmation {
  readonly chunk: LockedChunk;
  readonly nodeRowId: bigint;
  readonly blockIndex: number;
  readonly isRepair: boolean;
  readonly wasLost: boolean;
  readonly confirmedReplicas: number;
  readonly eventVersion: bigint;
  readonly reachedQuorum: boolean;
}

export interface ReportDecision {
  /** One per report, in their order. */
  readonly outcomes: readonly StoredOutcome[];
  readonly confirmations: readonly Confirmation[];
}

/** Keys of replicas and deletions: the pair that is unique in both tables. */
export function pairKey(nodeRowId: bigint, chunkHash: string): string {
  return `${nodeRowId}/${chunkHash}`;
}

/**
 * Decides a batch of reports against chunks that are locked. The order of the reports is the order of the confirmations,
 * so of a batch that carries a chunk from one replica to all of them exactly one confirmation reaches the quorum.
 */
export function decideReports(
  reports: readonly StoredReport[],
  known: {
    readonly chunks: ReadonlyMap<string, LockedChunk>;
    readonly replicas: ReadonlyMap<string, KnownReplica>;
    readonly deletions: ReadonlyMap<string, DeletionCause>;
  },
): ReportDecision {
  const confirmations: Confirmation[] = [];
  const latest = new Map<string, Confirmation>();
  const confirmedHere = new Set<string>();
  const outcomes = reports.map((report): StoredOutcome => {
    const key = pairKey(report.nodeRowId, report.chunkHash);
    const chunk = known.chunks.get(report.chunkHash);
    const replica = known.replicas.get(key);
    // A node that the chunk was never assigned to learns nothing about it.
    if (chunk === undefined || replica === undefined) return known.deletions.get(key) ?? "not_placed";
    if (report.sizeBytes !== undefined && report.sizeBytes !== chunk.sizeBytes) return "wrong_size";
    if (replica.state === "confirmed" || confirmedHere.has(key)) return "already_confirmed";
    const confirmation = confirm(chunk, latest.get(chunk.chunkHash), report.nodeRowId, replica);
    confirmedHere.add(key);
    latest.set(chunk.chunkHash, confirmation);
    confirmations.push(confirmation);
    return "confirmed";
  });
  return { outcomes, confirmations };
}

function confirm(
  chunk: LockedChunk,
  before: Confirmation | undefined,
  nodeRowId: bigint,
  replica: KnownReplica,
): Confirmation {
  const confirmedReplicas = (before?.confirmedReplicas ?? chunk.confirmedReplicas) + 1;
  return {
    chunk,
    nodeRowId,
    blockIndex: replica.blockIndex,
    isRepair: replica.isRepair,
    wasLost: replica.state === "lost",
    confirmedReplicas,
    eventVersion: (before?.eventVersion ?? chunk.eventVersion) + 1n,
    // Equal, not at least: the step onto the quorum happens once per batch, hasQuorum keeps it once per generation.
    reachedQuorum: !chunk.hasQuorum && confirmedReplicas === quorumOf(chunk.wantedReplicas),
  };
}
