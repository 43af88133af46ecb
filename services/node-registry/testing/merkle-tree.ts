import { createHash } from "node:crypto";
import { LEAF_BYTES, leafCountOf } from "../proofs/merkle.ts";

// The prover's side, written as RFC 6962, section 2.1, defines it and not as the verifier counts it.

export function leavesOf(chunk: Uint8Array): Uint8Array[] {
  return Array.from({ length: leafCountOf(chunk.length) }, (_, index) =>
    chunk.subarray(index * LEAF_BYTES, (index + 1) * LEAF_BYTES),
  );
}

export function treeHash(leaves: readonly Uint8Array[]): Buffer {
  const [only] = leaves;
  if (leaves.length === 1 && only !== undefined) return sha256(Uint8Array.of(0), only);
  const split = splitOf(leaves.length);
  return sha256(Uint8Array.of(1), treeHash(leaves.slice(0, split)), treeHash(leaves.slice(split)));
}

export function auditPath(leaves: readonly Uint8Array[], index: number): Buffer[] {
  if (leaves.length <= 1) return [];
  const split = splitOf(leaves.length);
  return index < split
    ? [...auditPath(leaves.slice(0, split), index), treeHash(leaves.slice(split))]
    : [...auditPath(leaves.slice(split), index - split), treeHash(leaves.slice(0, split))];
}

export function rootOf(chunk: Uint8Array): string {
  return treeHash(leavesOf(chunk)).toString("hex");
}

export function proofOf(chunk: Uint8Array, index: number): { leaf: Uint8Array; path: Uint8Array[] } {
  const leaves = leavesOf(chunk);
  const leaf = leaves[index];
  if (leaf === undefined) throw new Error(`the chunk has no leaf ${index}`);
  return { leaf, path: auditPath(leaves, index) };
}

export function sha256(...parts: readonly Uint8Array[]): Buffer {
  const digest = createHash("sha256");
  for (const part of parts) digest.update(part);
  return digest.digest();
}

function splitOf(count: number): number {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
}
