import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import type { Random } from "#platform/testing/random.ts";
import type { ChunkStore } from "../../dev/sample-node/chunk-store.ts";
import { proofRoot } from "../../dev/sample-node/merkle.ts";
import type { ChunkRecord } from "../history.ts";
import { between, hexOf } from "../random.ts";

const PATTERN_BYTES = 32;
const LEAST_BYTES = 2_000;
const MOST_BYTES = 20_000;

/** Small, and the same bytes again and again: what a node keeps of it are those, and all the rest follows. */
export function newChunk(random: Random, blockIndex: number): ChunkRecord {
  const pattern = hexOf(random, PATTERN_BYTES);
  const size = Math.round(between(random, LEAST_BYTES, MOST_BYTES));
  const content = contentOf(pattern, size);
  const isProvedByLeaves = random() < 0.5;
  return {
    chunkHash: sha256(content),
    sizeBytes: BigInt(size),
    blockIndex,
    pattern,
    proofRoot: isProvedByLeaves ? proofRoot(content) : undefined,
  };
}

export interface LoadStore extends ChunkStore {
  keep(chunk: Pick<ChunkRecord, "chunkHash" | "sizeBytes" | "pattern">): void;
  has(chunkHash: string): boolean;
}

/** What a node holds, in memory; a node that is off gives nothing to others. */
export function createLoadStore(isOff: () => boolean): LoadStore {
  const kept = new Map<string, { pattern: string; size: number }>();
  return {
    keep: ({ chunkHash, sizeBytes, pattern }) => void kept.set(chunkHash, { pattern, size: Number(sizeBytes) }),
    has: (chunkHash) => kept.has(chunkHash),
    put: async (chunkHash, content) => {
      const bytes = await buffer(content);
      const actual = sha256(bytes);
      if (actual !== chunkHash) return { kind: "wrong-hash", actual };
      kept.set(chunkHash, { pattern: bytes.toString("hex", 0, PATTERN_BYTES), size: bytes.length });
      return { kind: "stored", size: bytes.length };
    },
    read: async (chunkHash) => {
      const chunk = isOff() ? undefined : kept.get(chunkHash);
      if (chunk === undefined) return undefined;
      return { size: chunk.size, stream: Readable.from(contentOf(chunk.pattern, chunk.size)) };
    },
    remove: async (chunkHash) => void kept.delete(chunkHash),
    list: async () => [...kept].map(([hash, { size }]) => ({ hash, size })),
  };
}

function contentOf(pattern: string, size: number): Buffer {
  return Buffer.alloc(size, pattern, "hex");
}

function sha256(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}
