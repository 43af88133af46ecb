import { createHash } from "node:crypto";

// A node's digest: the sum modulo 2^64, over its chunks, of the first 8 bytes of SHA-256(hash bytes). Unlike an XOR
// it cannot be cancelled out by a chunk counted twice, and it is kept up to date one chunk at a time.

/** What one chunk adds to the digest. */
export function digestOf(chunkHash: string): bigint {
  return createHash("sha256").update(Buffer.from(chunkHash, "hex")).digest().readBigUInt64BE(0);
}

export function bucketOf(chunkHash: string): number {
  return Number.parseInt(chunkHash.slice(0, 2), 16);
}

/** The 256 sums, by bucket. */
export function bucketSums(chunkHashes: readonly string[]): bigint[] {
  const sums = Array.from({ length: 256 }, () => 0n);
  for (const hash of chunkHashes) {
    const bucket = bucketOf(hash);
    sums[bucket] = BigInt.asUintN(64, (sums[bucket] ?? 0n) + digestOf(hash));
  }
  return sums;
}

export function digestBytes(sum: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(sum);
  return new Uint8Array(bytes);
}
