import type { ChunkStore, StoredChunk } from "./chunk-store.ts";
import { bucketOf, digestOf } from "./digest.ts";

/**
 * The chunks that the registry has confirmed for this node: what its figures and its digest speak of. A chunk that is
 * on disk but not confirmed yet is not among them.
 */
export interface Holdings {
  confirm(chunk: StoredChunk): void;
  forget(hash: string): void;
  hashes(): string[];
  /** Those of one bucket of the digest. */
  hashesOf(bucket: number): string[];
  figures(): { usedBytes: bigint; chunkCount: bigint; digest: bigint };
}

export function createHoldings(): Holdings {
  const sizes = new Map<string, number>();
  const buckets = new Map<number, Set<string>>();
  let usedBytes = 0;
  let digest = 0n; // kept by addition and subtraction: a beat must not cost a pass over all chunks
  const forget = (hash: string) => {
    const size = sizes.get(hash);
    if (size === undefined) return;
    sizes.delete(hash);
    buckets.get(bucketOf(hash))?.delete(hash);
    usedBytes -= size;
    digest = BigInt.asUintN(64, digest - digestOf(hash));
  };
  return {
    confirm: (chunk) => {
      forget(chunk.hash);
      sizes.set(chunk.hash, chunk.size);
      buckets.getOrInsertComputed(bucketOf(chunk.hash), () => new Set()).add(chunk.hash);
      usedBytes += chunk.size;
      digest = BigInt.asUintN(64, digest + digestOf(chunk.hash));
    },
    forget,
    hashes: () => [...sizes.keys()].sort(),
    hashesOf: (bucket) => [...(buckets.get(bucket) ?? [])].sort(),
    figures: () => ({ usedBytes: BigInt(usedBytes), chunkCount: BigInt(sizes.size), digest }),
  };
}

/** Deletes a chunk everywhere on this node. */
export async function drop(store: ChunkStore, holdings: Holdings, hash: string): Promise<void> {
  await store.remove(hash);
  holdings.forget(hash);
}
