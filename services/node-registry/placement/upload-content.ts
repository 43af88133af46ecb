import { hash } from "node:crypto";

/** One chunk of an upload as it was asked for. */
export interface AskedChunk {
  readonly chunkHash: string;
  readonly sizeBytes: bigint;
  readonly blockIndex: number;
  readonly proofRoot: string | null;
}

/** What a PlaceChunks call asks for. */
export interface UploadContent {
  readonly userId: string;
  readonly uploadId: string;
  readonly replicas: number;
  readonly chunks: readonly AskedChunk[];
  readonly fingerprint: string;
}

/** The same for the same user, replicas and chunks, in whatever order the chunks are named. */
export function fingerprintOf(content: Omit<UploadContent, "fingerprint">): string {
  const lines = content.chunks.map(
    (chunk) => `${chunk.chunkHash} ${chunk.sizeBytes} ${chunk.blockIndex} ${chunk.proofRoot ?? "-"}`,
  );
  return hash("sha256", [`${content.userId} ${content.replicas}`, ...lines.sort()].join("\n"), "hex");
}

/** What must be known of a chunk to tell what a new upload makes of it. */
export interface ExistingChunk {
  readonly chunkHash: string;
  readonly ownerId: string;
  readonly sizeBytes: bigint;
  readonly proofRoot: string | null;
  readonly isReleased: boolean;
}

export type ContentRefusal =
  | { readonly reason: "owned_by_another"; readonly chunkHash: string }
  | { readonly reason: "chunk_mismatch"; readonly chunkHash: string };

export interface ContentSplit<E extends ExistingChunk> {
  /** Hashes that were never placed. */
  readonly unknown: readonly AskedChunk[];
  /** Hashes whose last life is over. */
  readonly dead: readonly AskedChunk[];
  /** The user's living chunks: only referenced. */
  readonly living: readonly { readonly asked: AskedChunk; readonly chunk: E }[];
  /** Bytes of everything that is new: what user-quota is asked for. */
  readonly newBytes: bigint;
}

/** Sorts an upload's chunks by what is known of them; a refusal where one of them cannot be used. */
export function splitContent<E extends ExistingChunk>(
  content: UploadContent,
  existing: ReadonlyMap<string, E>,
): ContentSplit<E> | ContentRefusal {
  const unknown: AskedChunk[] = [];
  const dead: AskedChunk[] = [];
  const living: { asked: AskedChunk; chunk: E }[] = [];
  let newBytes = 0n;
  for (const asked of content.chunks) {
    const chunk = existing.get(asked.chunkHash);
    if (chunk === undefined || chunk.isReleased) {
      (chunk === undefined ? unknown : dead).push(asked);
      newBytes += asked.sizeBytes;
      continue;
    }
    if (chunk.ownerId !== content.userId) return { reason: "owned_by_another", chunkHash: asked.chunkHash };
    const hasOtherRoot = asked.proofRoot !== null && chunk.proofRoot !== null && asked.proofRoot !== chunk.proofRoot;
    if (chunk.sizeBytes !== asked.sizeBytes || hasOtherRoot) {
      return { reason: "chunk_mismatch", chunkHash: asked.chunkHash };
    }
    living.push({ asked, chunk });
  }
  return { unknown, dead, living, newBytes };
}
