import { hash } from "node:crypto";
import { expect, test } from "vitest";
import { type Challenge, judgeAnswer, leafToAsk, MAX_WHOLE_CHUNK_BYTES, type ProofAnswer } from "./challenge.ts";
import { consequenceOf, retryAsksForWhole } from "./consequence.ts";

const chunk = new Uint8Array(3000).map((_, at) => at % 251);
const leaves = [chunk.subarray(0, 1024), chunk.subarray(1024, 2048), chunk.subarray(2048)];
const sha = (...parts: Uint8Array[]) => hash("sha256", Buffer.concat(parts), "buffer");
const [a, b, c] = leaves.map((leaf) => sha(Uint8Array.of(0), leaf));
if (a === undefined || b === undefined || c === undefined) throw new Error("three leaves");
const ab = sha(Uint8Array.of(1), a, b);
const proofRoot = sha(Uint8Array.of(1), ab, c).toString("hex");
const chunkHash = hash("sha256", chunk);
const nonce = new Uint8Array(32).fill(7);

const leafChallenge: Challenge = {
  commandId: "01900000-0000-7000-8000-000000000001",
  nodeId: "n".repeat(64),
  nodeRowId: 1n,
  chunkHash,
  generation: 1,
  sizeBytes: chunk.length,
  proofRoot,
  leafIndex: 2,
  nonce,
  isRetry: false,
};
const wholeChallenge: Challenge = { ...leafChallenge, leafIndex: undefined, proofRoot: undefined };
const leafAnswer: ProofAnswer = {
  chunkHash,
  nonce,
  proof: { kind: "leaf", leafProof: { leaf: chunk.subarray(2048), path: [ab] } },
};
const wholeAnswer: ProofAnswer = { chunkHash, nonce, proof: { kind: "chunk", chunk } };

test("the leaf with its path proves the chunk, and so does the chunk where it was asked for", () => {
  expect(judgeAnswer(leafChallenge, leafAnswer).kind).toBe("proved");
  expect(judgeAnswer(wholeChallenge, wholeAnswer).kind).toBe("proved");
});

test.each<[string, Challenge, ProofAnswer]>([
  ["another chunk", leafChallenge, { ...leafAnswer, chunkHash: "0".repeat(64) }],
  ["another nonce", leafChallenge, { ...leafAnswer, nonce: new Uint8Array(32) }],
  ["a shorter nonce", leafChallenge, { ...leafAnswer, nonce: nonce.subarray(1) }],
  ["another leaf", { ...leafChallenge, leafIndex: 1 }, leafAnswer],
  ["a chunk where a leaf was asked for", leafChallenge, wholeAnswer],
  ["a leaf where the chunk was asked for", wholeChallenge, leafAnswer],
  ["a truncated chunk", wholeChallenge, { ...wholeAnswer, proof: { kind: "chunk", chunk: chunk.subarray(1) } }],
  ["an oversized chunk", wholeChallenge, { ...wholeAnswer, proof: { kind: "chunk", chunk: new Uint8Array(3001) } }],
  ["another chunk's bytes", wholeChallenge, { ...wholeAnswer, proof: { kind: "chunk", chunk: new Uint8Array(3000) } }],
])("an answer with %s is invalid", (_, challenge, answer) => {
  expect(judgeAnswer(challenge, answer).kind).toBe("invalid");
});

test("an answer without a proof is the node's word that it does not hold the chunk", () => {
  expect(judgeAnswer(leafChallenge, { chunkHash, nonce, proof: { kind: "none" } }).kind).toBe("not_held");
});

test("every leaf is asked for, and nothing but leaves", () => {
  const asked = new Set(
    [0, 0.34, 0.67, 0.999].map((point) => leafToAsk({ sizeBytes: 3000, hasRoot: true }, () => point)),
  );
  expect([...asked]).toEqual([0, 1, 2]);
  expect(leafToAsk({ sizeBytes: 3000, hasRoot: false }, () => 0.5)).toBeUndefined();
});

const small = { isRetry: false, isWholeChunk: false, sizeBytes: 256 * 1024, isRootWitnessed: false };
const large = { ...small, sizeBytes: MAX_WHOLE_CHUNK_BYTES + 1 };
const wrong = { kind: "invalid", reason: "" } as const;

test("a first miss or wrong answer is asked again, the second one counts", () => {
  for (const outcome of [wrong, { kind: "timed_out" } as const]) {
    expect(consequenceOf(outcome, small)).toEqual({ kind: "ask_again" });
    const again = { ...small, isRetry: true, isWholeChunk: outcome.kind === "invalid" };
    expect(consequenceOf(outcome, again)).toEqual({ kind: "lost", failure: outcome.kind });
  }
});

test("the node's own word counts at once", () => {
  expect(consequenceOf({ kind: "not_held" }, small)).toEqual({ kind: "lost", failure: "not_held" });
});

test("a false root of the client's never costs an honest node anything", () => {
  expect(retryAsksForWhole("invalid", small.sizeBytes)).toBe(true);
  expect(consequenceOf({ kind: "proved" }, { ...small, isRetry: true, isWholeChunk: true })).toEqual({
    kind: "verified",
  });
  // Too large to be sent: only where the root was proved once it is the node that is wrong.
  expect(retryAsksForWhole("invalid", large.sizeBytes)).toBe(false);
  expect(consequenceOf(wrong, { ...large, isRetry: true })).toEqual({ kind: "undecided" });
  expect(consequenceOf(wrong, { ...large, isRetry: true, isRootWitnessed: true })).toEqual({
    kind: "lost",
    failure: "invalid",
  });
  // A leaf asked for again after a miss is the first wrong answer, not the second.
  expect(consequenceOf(wrong, { ...small, isRetry: true })).toEqual({ kind: "ask_again" });
  expect(consequenceOf(wrong, { ...small, isRetry: true, isRootWitnessed: true })).toEqual({ kind: "ask_again" });
});
