import fc from "fast-check";
import { expect, test } from "vitest";
import { additive1, beta1, type Evidence, type EvidenceKind, formulas, replay } from "./formula.ts";

const kinds = [
  "proof_succeeded",
  "proof_failed",
  "proof_timed_out",
  "proof_invalid",
  "loss_reported",
  "reset",
] as const;

function entry(kind: EvidenceKind, count = 1): Evidence {
  return { kind, count };
}

const anyLog = fc.array(fc.record({ kind: fc.constantFrom(...kinds), count: fc.integer({ min: 1, max: 200 }) }), {
  maxLength: 60,
  size: "max",
});

test("the default formula is the original system's", () => {
  const after = (...log: Evidence[]) => replay(additive1, log).score;
  expect(after()).toBe(1);
  expect(after(entry("proof_failed"))).toBe(0.9);
  expect(after(entry("proof_timed_out"))).toBe(0.95);
  expect(after(entry("proof_invalid"))).toBe(0.8);
  expect(after(entry("loss_reported"))).toBe(1);
  expect(after(entry("proof_failed"), entry("proof_succeeded", 3))).toBe(0.93);
  expect(after(entry("proof_failed"), entry("proof_succeeded", 50))).toBe(1);
  expect(after(entry("proof_invalid", 9))).toBe(0);
  expect(after(entry("proof_invalid", 9), entry("reset"))).toBe(1);
});

test("ten successes undo a failure exactly, wherever it happened", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), (failures) => {
      const low = replay(additive1, [entry("proof_failed", failures)]);
      const back = replay(additive1, [entry("proof_failed", failures), ...Array(10).fill(entry("proof_succeeded"))]);
      expect(back.score).toBe(Math.round((low.score + 0.1) * 1e9) / 1e9);
    }),
  );
});

test.each(Object.values(formulas))("$name stays within 0 and 1 and is never lower without the timeouts", (formula) => {
  fc.assert(
    fc.property(anyLog, (log) => {
      const { score, provenScore } = replay(formula, log);
      expect(score).toBeGreaterThanOrEqual(0);
      expect(score).toBeLessThanOrEqual(1);
      if (formula === additive1) expect(provenScore).toBeGreaterThanOrEqual(score);
    }),
  );
});

test.each(Object.values(formulas))(
  "$name comes to the same however a run of one kind is cut into entries",
  (formula) => {
    fc.assert(
      fc.property(anyLog, (log) => {
        const single = log.flatMap(({ kind, count }) =>
          kind === "reset" ? [entry(kind)] : Array(count).fill(entry(kind)),
        );
        expect(replay(formula, single).score).toBeCloseTo(replay(formula, log).score, 6);
      }),
      { numRuns: 50 },
    );
  },
);

test("the beta model forgives single failures and finds a node that fails half of its proofs", () => {
  expect(replay(beta1, [entry("proof_failed")]).score).toBeGreaterThan(0.998);
  const half = Array.from({ length: 200 }, (_, index) => entry(index % 2 === 0 ? "proof_failed" : "proof_succeeded"));
  expect(replay(beta1, half).score).toBeLessThan(0.96);
  const recovered = replay(beta1, [...half, entry("proof_succeeded", 5_000)]);
  expect(recovered.score).toBeGreaterThan(0.999);
});

test("timeouts count in the score but not in the proven score", () => {
  for (const formula of Object.values(formulas)) {
    const standing = replay(formula, [entry("proof_timed_out", 15)]);
    expect(standing.score).toBeLessThan(1);
    expect(standing.provenScore).toBe(1);
  }
});
