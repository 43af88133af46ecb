import { createHash } from "node:crypto";

// RFC 6962 Merkle tree over a chunk's 1 KiB leaves (the last one shorter). Leaves and inner nodes are hashed with
// different prefixes, so that an inner node can never pass for a leaf.

const leafBytes = 1024;

export function leavesOf(chunk: Uint8Array): Uint8Array[] {
  const leaves: Uint8Array[] = [];
  for (let start = 0; start < chunk.length; start += leafBytes) leaves.push(chunk.subarray(start, start + leafBytes));
  return leaves;
}

/** The root of the whole chunk, as 64 lowercase hex characters: the `proof_root` of a placement. */
export function proofRoot(chunk: Uint8Array): string {
  return subtreeRoot(leavesOf(chunk)).toString("hex");
}

/** The hashes beside the way from a leaf to the root, from the leaf up. */
export function proofPath(leaves: readonly Uint8Array[], index: number): Uint8Array[] {
  if (leaves.length <= 1) return [];
  const split = largestPowerBelow(leaves.length);
  const left = leaves.slice(0, split);
  const right = leaves.slice(split);
  return index < split
    ? [...proofPath(left, index), subtreeRoot(right)]
    : [...proofPath(right, index - split), subtreeRoot(left)];
}

function subtreeRoot(leaves: readonly Uint8Array[]): Buffer {
  const [only] = leaves;
  if (leaves.length === 1 && only !== undefined) return hash(0, only);
  const split = largestPowerBelow(leaves.length);
  return hash(1, subtreeRoot(leaves.slice(0, split)), subtreeRoot(leaves.slice(split)));
}

function largestPowerBelow(count: number): number {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
}

function hash(prefix: number, ...parts: Uint8Array[]): Buffer {
  const digest = createHash("sha256").update(Uint8Array.of(prefix));
  for (const part of parts) digest.update(part);
  return digest.digest();
}
