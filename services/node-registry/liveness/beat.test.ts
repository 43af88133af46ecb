import fc from "fast-check";
import { expect, test } from "vitest";
import { type BeatFigures, type FoldedBeat, foldBeat, mergeBeats, newBeat } from "./beat.ts";

const figures = (sequence: bigint): BeatFigures => ({ sequence, usedBytes: sequence, freeBytes: 0n, chunkCount: 0n });
const anySequences = fc.array(fc.bigInt({ min: 1n, max: 6n }), { minLength: 1, maxLength: 20, size: "max" });

/** The rule, one heartbeat at a time, on what is stored. */
function apply(stored: bigint, sequences: readonly bigint[]): bigint {
  return sequences.reduce((last, next) => (next === 1n || next > last ? next : last), stored);
}

function fold(sequences: readonly bigint[]): FoldedBeat {
  const [first = 1n, ...rest] = sequences;
  const folded = newBeat(figures(first), 0);
  for (const [index, sequence] of rest.entries()) foldBeat(folded, figures(sequence), index + 1);
  return folded;
}

/** What the write does with a fold. */
function write(stored: bigint, beat: FoldedBeat): bigint {
  return beat.isRestarted || beat.figures.sequence > stored ? beat.figures.sequence : stored;
}

test("a fold without a restart writes what its heartbeats would have written one by one", () => {
  const rising = anySequences.map((sequences) => sequences.map((sequence) => sequence + 1n));
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 8n }), rising, (stored, sequences) => {
      expect(write(stored, fold(sequences))).toBe(apply(stored, sequences));
    }),
  );
});

test("a fold that begins with a restart writes what its heartbeats would have written one by one", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 8n }), anySequences, (stored, sequences) => {
      expect(write(stored, fold([1n, ...sequences]))).toBe(apply(stored, [1n, ...sequences]));
    }),
  );
});

test("a fold with a restart in its middle goes on from the restart", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 8n }), anySequences, anySequences, (stored, before, after) => {
      const sequences = [...before, 1n, ...after];
      expect(write(stored, fold(sequences))).toBe(apply(stored, sequences));
    }),
  );
});

test("a write that failed and is merged with what came since counts every heartbeat and loses no restart", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 8n }), anySequences, anySequences, (stored, earlier, later) => {
      const merged = mergeBeats(fold(earlier), fold(later));
      expect(merged.count).toBe(earlier.length + later.length);
      expect(write(stored, merged)).toBe(apply(stored, [...earlier, ...later]));
    }),
  );
});
