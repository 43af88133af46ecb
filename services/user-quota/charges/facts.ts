interface FromEvent {
  readonly userId: string;
  readonly eventId: string;
  /** Outbox id of the event at node-registry. */
  readonly sourcePosition: bigint;
}

/** A chunk has reached its quorum. */
export interface ChunkStoredFact extends FromEvent {
  readonly kind: "stored";
  readonly chunkHash: string;
  readonly generation: number;
  readonly sizeBytes: bigint;
  readonly uploadId: string | undefined;
  /** The reservation that it counts against; undefined where the registry knows of none. */
  readonly reservationId: string | undefined;
}

/** A charged chunk is gone. */
export interface ChunkReleasedFact extends FromEvent {
  readonly kind: "released";
  readonly chunkHash: string;
  readonly generation: number;
  readonly sizeBytes: bigint;
}

/** An upload was completed or has expired; `chargedBytes` of its reservation are or will be posted. */
export interface UploadEndedFact extends FromEvent {
  readonly kind: "upload_ended";
  readonly reservationId: string;
  readonly chargedBytes: bigint;
}

export type Fact = ChunkStoredFact | ChunkReleasedFact | UploadEndedFact;
export type ChunkFact = ChunkStoredFact | ChunkReleasedFact;

export type ChargeState = "charged" | "forestalled" | "released";

/** What is remembered of one life of a chunk. */
export interface Charge {
  readonly userId: string;
  readonly chunkHash: string;
  readonly generation: number;
  readonly state: ChargeState;
  readonly sizeBytes: bigint;
}

export function chargeKey(of: { userId: string; chunkHash: string; generation: number }): string {
  return `${of.userId}/${of.chunkHash}/${of.generation}`;
}

/**
 * What `facts` make of every chunk that nothing was known of before: so the guard can be inserted first, in one statement,
 * and its answer tells which of them are really new. The order of the facts does not matter for the outcome.
 */
export function claimsOf(facts: readonly Fact[]): Map<string, Charge> {
  const claims = new Map<string, Charge>();
  for (const fact of facts) {
    if (fact.kind === "upload_ended") continue;
    const key = chargeKey(fact);
    const { userId, chunkHash, generation } = fact;
    const before = claims.get(key);
    const state = nextState(before?.state, fact.kind);
    // The size that was charged, where it is known, is the size that is refunded.
    const sizeBytes = before !== undefined && fact.kind === "released" ? before.sizeBytes : fact.sizeBytes;
    if (before?.state !== state) claims.set(key, { userId, chunkHash, generation, state, sizeBytes });
  }
  return claims;
}

/** The states only ever move forward, so repeats and any order end alike. */
export function nextState(state: ChargeState | undefined, kind: ChunkFact["kind"]): ChargeState {
  if (kind === "stored") return state === undefined || state === "charged" ? "charged" : "released";
  return state === undefined || state === "forestalled" ? "forestalled" : "released";
}
