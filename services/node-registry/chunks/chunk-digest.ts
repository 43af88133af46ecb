import { hash } from "node:crypto";

const MODULUS = 1n << 64n;

/** What one confirmed chunk adds to its node's digest: the first 8 bytes, big endian, of SHA-256 over the hash's bytes. */
export function digestTermOf(chunkHash: string): bigint {
  return hash("sha256", Buffer.from(chunkHash, "hex"), "buffer").readBigUInt64BE(0);
}

/** The sum modulo 2^64, in which order and grouping do not matter. */
export function digestOf(chunkHashes: Iterable<string>): bigint {
  return sumOf(Iterator.from(chunkHashes).map(digestTermOf));
}

/** Modulo 2^64, of terms or of sums. */
export function sumOf(terms: Iterable<bigint>): bigint {
  let sum = 0n;
  for (const term of terms) sum += term;
  return sum % MODULUS;
}

/** What must be added modulo 2^64 to take a term away. */
export function negated(term: bigint): bigint {
  return (MODULUS - (term % MODULUS)) % MODULUS;
}

export function digestFromBytes(bytes: Uint8Array): bigint | undefined {
  return bytes.length === 8 ? Buffer.from(bytes).readBigUInt64BE(0) : undefined;
}

export function digestToBytes(digest: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(digest % MODULUS);
  return bytes;
}

/** The bucket of a chunk: the first byte of its hash. */
export function bucketOf(chunkHash: string): number {
  return Number.parseInt(chunkHash.slice(0, 2), 16);
}
