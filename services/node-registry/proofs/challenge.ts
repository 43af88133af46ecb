import { hash } from "node:crypto";
import { type LeafProof, leafCountOf, rootOfLeafProof } from "./merkle.ts";

/** The largest chunk that can be asked for whole: what one SubmitStorageProof carries. */
export const MAX_WHOLE_CHUNK_BYTES = 2 * 1024 * 1024;

/** What a node was asked to prove. Everything that the verdict needs, so that no stored secret is behind it. */
export interface Challenge {
  readonly commandId: string;
  /** 64 lowercase hex characters. */
  readonly nodeId: string;
  /** storage_nodes.id */
  readonly nodeRowId: bigint;
  readonly chunkHash: string;
  readonly generation: number;
  readonly sizeBytes: number;
  /** In hex; undefined where the whole chunk is asked for. */
  readonly proofRoot: string | undefined;
  /** Undefined asks for the whole chunk. */
  readonly leafIndex: number | undefined;
  readonly nonce: Uint8Array;
  /** Whether it repeats one that was missed or answered wrongly. */
  readonly isRetry: boolean;
}

export interface ProofAnswer {
  readonly chunkHash: string;
  readonly nonce: Uint8Array;
  readonly proof:
    | { readonly kind: "leaf"; readonly leafProof: LeafProof }
    | { readonly kind: "chunk"; readonly chunk: Uint8Array }
    /** The node says that it does not have the chunk. */
    | { readonly kind: "none" };
}

export type Outcome =
  | { readonly kind: "proved" }
  | { readonly kind: "not_held" }
  /** `reason` in English, for the log. */
  | { readonly kind: "invalid"; readonly reason: string }
  | { readonly kind: "timed_out" };

/** What to ask for: a random leaf where a root can tell whether it is the right one, otherwise everything. */
export function leafToAsk(
  chunk: { readonly sizeBytes: number; readonly hasRoot: boolean },
  random: () => number,
): number | undefined {
  return chunk.hasRoot ? Math.floor(random() * leafCountOf(chunk.sizeBytes)) : undefined;
}

/** The verdict on an answer, by the challenge alone. */
export function judgeAnswer(challenge: Challenge, answer: ProofAnswer): Outcome {
  if (answer.chunkHash !== challenge.chunkHash) return invalid("answers for another chunk");
  if (!Buffer.from(challenge.nonce).equals(answer.nonce)) return invalid("carries another nonce");
  if (answer.proof.kind === "none") return { kind: "not_held" };
  const { leafIndex, proofRoot, sizeBytes } = challenge;
  if (leafIndex === undefined || proofRoot === undefined) {
    return answer.proof.kind === "chunk" ? judgeChunk(challenge, answer.proof.chunk) : invalid("is no whole chunk");
  }
  if (answer.proof.kind !== "leaf") return invalid("is no leaf");
  const result = rootOfLeafProof(leafIndex, sizeBytes, answer.proof.leafProof);
  if (result.kind === "misfit") return invalid(result.rule);
  return result.root.toString("hex") === proofRoot ? { kind: "proved" } : invalid("leads to another root");
}

function judgeChunk(challenge: Challenge, chunk: Uint8Array): Outcome {
  if (chunk.length !== challenge.sizeBytes) return invalid(`the chunk must have ${challenge.sizeBytes} bytes`);
  return hash("sha256", chunk) === challenge.chunkHash ? { kind: "proved" } : invalid("the chunk has another hash");
}

function invalid(reason: string): Outcome {
  return { kind: "invalid", reason };
}
