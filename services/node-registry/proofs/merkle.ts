import { hash } from "node:crypto";

// RFC 6962 Merkle trees over a chunk's leaves of 1 KiB, the last one shorter. A leaf is hashed behind 0x00 and an inner
// node behind 0x01, so the hash of an inner node can never pass for a leaf; and since the registry knows the chunk's
// size, leaf and path must have exactly the lengths that this place in this tree has.

export const LEAF_BYTES = 1024;
const HASH_BYTES = 32;

export interface LeafProof {
  readonly leaf: Uint8Array;
  /** Sibling hashes from the leaf up. */
  readonly path: readonly Uint8Array[];
}

/** What a leaf and its path come to: the root of the tree that they were taken from, or why they fit no such tree. */
export type RootOfProof =
  | { readonly kind: "root"; readonly root: Buffer }
  | { readonly kind: "misfit"; readonly rule: string };

export function leafCountOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / LEAF_BYTES);
}

/** Bytes of one leaf: all of them full but the last. */
export function leafBytesAt(index: number, sizeBytes: number): number {
  return Math.min(LEAF_BYTES, sizeBytes - index * LEAF_BYTES);
}

/**
 * On which side each sibling of the path stands, from the leaf up. At the right edge of an uneven tree a level without
 * a sibling is left out, so paths of one tree differ in length.
 */
export function siblingSides(index: number, leafCount: number): readonly ("left" | "right")[] {
  const sides: ("left" | "right")[] = [];
  let position = index;
  let last = leafCount - 1;
  while (last > 0) {
    if (position % 2 === 1) sides.push("left");
    else if (position < last) sides.push("right");
    position = position >>> 1;
    last = last >>> 1;
  }
  return sides;
}

export function rootOfLeafProof(index: number, sizeBytes: number, proof: LeafProof): RootOfProof {
  const leafCount = leafCountOf(sizeBytes);
  if (!Number.isInteger(index) || index < 0 || index >= leafCount) return misfit("there is no such leaf");
  const leafBytes = leafBytesAt(index, sizeBytes);
  if (proof.leaf.length !== leafBytes) return misfit(`the leaf must have ${leafBytes} bytes`);
  const sides = siblingSides(index, leafCount);
  if (proof.path.length !== sides.length) return misfit(`the path must have ${sides.length} hashes`);
  let node = hashLeaf(proof.leaf);
  for (const [level, side] of sides.entries()) {
    const sibling = proof.path[level];
    if (sibling?.length !== HASH_BYTES) return misfit("every hash of the path must have 32 bytes");
    node = side === "left" ? hashInner(sibling, node) : hashInner(node, sibling);
  }
  return { kind: "root", root: node };
}

function misfit(rule: string): RootOfProof {
  return { kind: "misfit", rule };
}

function hashLeaf(leaf: Uint8Array): Buffer {
  const input = Buffer.allocUnsafe(1 + leaf.length);
  input[0] = 0;
  input.set(leaf, 1);
  return hash("sha256", input, "buffer");
}

function hashInner(left: Uint8Array, right: Uint8Array): Buffer {
  const input = Buffer.allocUnsafe(1 + 2 * HASH_BYTES);
  input[0] = 1;
  input.set(left, 1);
  input.set(right, 1 + HASH_BYTES);
  return hash("sha256", input, "buffer");
}
