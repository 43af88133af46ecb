import fc from "fast-check";
import { expect, test } from "vitest";
import { auditPath, leavesOf, proofOf, sha256, treeHash } from "../testing/merkle-tree.ts";
import { LEAF_BYTES, leafCountOf, rootOfLeafProof, siblingSides } from "./merkle.ts";

// Chunks of every shape of tree, cheap to make: a few distinct bytes stretched over the size.
const chunkAndIndex = fc
  .record({ size: fc.integer({ min: 1, max: 40 * LEAF_BYTES }), seed: fc.integer() })
  .map(({ size, seed }) => {
    const chunk = new Uint8Array(size);
    for (let at = 0; at < size; at += 97) chunk[at] = (seed + at * 31) & 0xff;
    return chunk;
  })
  .chain((chunk) =>
    fc.record({ chunk: fc.constant(chunk), index: fc.integer({ min: 0, max: leafCountOf(chunk.length) - 1 }) }),
  );

function provenRoot(index: number, size: number, proof: Parameters<typeof rootOfLeafProof>[2]): string {
  const result = rootOfLeafProof(index, size, proof);
  return result.kind === "root" ? result.root.toString("hex") : result.rule;
}

test("every leaf of every tree leads to the root of RFC 6962", () => {
  fc.assert(
    fc.property(chunkAndIndex, ({ chunk, index }) => {
      const root = treeHash(leavesOf(chunk)).toString("hex");
      expect(provenRoot(index, chunk.length, proofOf(chunk, index))).toBe(root);
    }),
    { numRuns: 300 },
  );
});

test("a changed byte in the leaf or in the path leads elsewhere", () => {
  fc.assert(
    fc.property(chunkAndIndex, fc.nat(), fc.integer({ min: 1, max: 255 }), ({ chunk, index }, where, flip) => {
      const root = treeHash(leavesOf(chunk)).toString("hex");
      const proof = proofOf(chunk, index);
      const parts = [Uint8Array.from(proof.leaf), ...proof.path.map((hash) => Uint8Array.from(hash))];
      const part = parts[where % parts.length];
      if (part === undefined) return;
      part[where % part.length] = (part[where % part.length] ?? 0) ^ flip;
      const [leaf = new Uint8Array(), ...path] = parts;
      expect(provenRoot(index, chunk.length, { leaf, path })).not.toBe(root);
    }),
    { numRuns: 300 },
  );
});

test("the proof of one leaf does not hold for another one", () => {
  fc.assert(
    fc.property(chunkAndIndex, fc.nat(), ({ chunk, index }, other) => {
      const count = leafCountOf(chunk.length);
      const asked = other % count;
      // Equal leaves in mirrored places can share a proof only where the places are the same.
      fc.pre(asked !== index && siblingSides(asked, count).join() !== siblingSides(index, count).join());
      const root = treeHash(leavesOf(chunk)).toString("hex");
      expect(provenRoot(asked, chunk.length, proofOf(chunk, index))).not.toBe(root);
    }),
    { numRuns: 300 },
  );
});

test("an inner node offered as a leaf, with the shorter path above it, is refused", () => {
  const chunk = new Uint8Array(8 * LEAF_BYTES).map((_, at) => at & 0xff);
  const leaves = leavesOf(chunk);
  const [first = new Uint8Array(), second = new Uint8Array()] = leaves;
  const innerNode = Buffer.concat([sha256(Uint8Array.of(0), first), sha256(Uint8Array.of(0), second)]);
  const path = auditPath(leaves, 0).slice(1);
  expect(rootOfLeafProof(0, chunk.length, { leaf: innerNode, path })).toMatchObject({ kind: "misfit" });
  // Also in a tree in which those 64 bytes have the length of a leaf: the prefix tells the two apart.
  const small = new Uint8Array(LEAF_BYTES + 64);
  const smallLeaves = leavesOf(small);
  const result = rootOfLeafProof(1, small.length, { leaf: innerNode, path: auditPath(smallLeaves, 1) });
  expect(result.kind === "root" && result.root.equals(treeHash(smallLeaves))).toBe(false);
});

test("truncated, oversized and misplaced answers fit no tree", () => {
  const chunk = new Uint8Array(5 * LEAF_BYTES + 10);
  const proof = proofOf(chunk, 2);
  const misfits = [
    rootOfLeafProof(2, chunk.length, { ...proof, leaf: proof.leaf.subarray(1) }),
    rootOfLeafProof(2, chunk.length, { ...proof, leaf: new Uint8Array(LEAF_BYTES + 1) }),
    rootOfLeafProof(2, chunk.length, { ...proof, path: proof.path.slice(1) }),
    rootOfLeafProof(2, chunk.length, { ...proof, path: [...proof.path, sha256()] }),
    rootOfLeafProof(2, chunk.length, { ...proof, path: [new Uint8Array(31), ...proof.path.slice(1)] }),
    rootOfLeafProof(6, chunk.length, proof),
    rootOfLeafProof(-1, chunk.length, proof),
  ];
  expect(misfits.map((result) => result.kind)).toEqual(misfits.map(() => "misfit"));
});

test("a path never has more than the 16 hashes that the contract allows", () => {
  const largest = leafCountOf(64 * 1024 * 1024);
  expect(siblingSides(0, largest)).toHaveLength(16);
  expect(siblingSides(largest - 1, largest)).toHaveLength(16);
  expect(siblingSides(0, 1)).toHaveLength(0);
});
