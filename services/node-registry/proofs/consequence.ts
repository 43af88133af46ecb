import { MAX_WHOLE_CHUNK_BYTES, type Outcome } from "./challenge.ts";

/** How a proof failed for good; named as in events. */
export type ProofFailure = "not_held" | "timed_out" | "invalid";

export type Consequence =
  | { readonly kind: "verified" }
  /** The first miss or wrong answer: asked again within minutes, and nothing counts yet. */
  | { readonly kind: "ask_again" }
  /** The replica is lost and the node's reputation falls. */
  | { readonly kind: "lost"; readonly failure: ProofFailure }
  /** The answer proves nothing against the node: the client's proof_root may be false. */
  | { readonly kind: "undecided" };

export interface Circumstances {
  readonly isRetry: boolean;
  /** Whether the whole chunk was asked for. */
  readonly isWholeChunk: boolean;
  readonly sizeBytes: number;
  /** Whether a node, this one or another, has proved this chunk by its root, so that the root is known to be the chunk's. */
  readonly isRootWitnessed: boolean;
}

/**
 * What follows from an outcome. The root comes from the client and nodes never see it, so a leaf that leads to another
 * root says only that root and node disagree. Chunks that can be sent whole are then asked for whole, and their hash
 * decides: of those it is unknown whether they were proved by this root, since it may have been named after a proof of
 * the whole chunk. Larger ones can only be proved by their root. They count against the node where somebody has done that;
 * otherwise it stays open who is wrong, and the node goes unpunished.
 */
export function consequenceOf(outcome: Outcome, circumstances: Circumstances): Consequence {
  if (outcome.kind === "proved") return { kind: "verified" };
  if (outcome.kind === "not_held") return { kind: "lost", failure: "not_held" };
  if (!circumstances.isRetry) return { kind: "ask_again" };
  if (outcome.kind === "timed_out") return { kind: "lost", failure: "timed_out" };
  if (circumstances.isWholeChunk) return { kind: "lost", failure: "invalid" };
  // A leaf of a retry: its first challenge was missed, not wrong (then the whole chunk would have been asked for).
  if (circumstances.sizeBytes <= MAX_WHOLE_CHUNK_BYTES) return { kind: "ask_again" };
  return circumstances.isRootWitnessed ? { kind: "lost", failure: "invalid" } : { kind: "undecided" };
}

/** Whether a retry asks for the whole chunk: after a wrong leaf, where it fits into an answer. */
export function retryAsksForWhole(first: "timed_out" | "invalid", sizeBytes: number): boolean {
  return first === "invalid" && sizeBytes <= MAX_WHOLE_CHUNK_BYTES;
}
