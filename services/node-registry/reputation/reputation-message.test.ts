import { expect, test } from "vitest";
import { additive1, replay } from "./formula.ts";
import { createArithmetic, toProtoReputation } from "./reputation-message.ts";

const thresholds = { probationBelow: 0.7, disqualifyBelow: 0.4, silenceGraceMs: 1_000 };

test("every entry shows how many of its kind it is, and the score before and after them", () => {
  const occurredAt = Temporal.Instant.fromEpochMilliseconds(0);
  const log = [
    { kind: "proof_invalid", count: 2, occurredAt },
    { kind: "proof_succeeded", count: 7, occurredAt },
    { kind: "loss_reported", count: 1, occurredAt },
  ] as const;
  const standing = replay(additive1, log);
  const current = { standing, unloggedSuccesses: 0, belowSince: undefined };
  const arithmetic = createArithmetic(additive1);
  for (const entry of log) arithmetic.add([entry]);
  const { score, evidence } = toProtoReputation(current, arithmetic.newestFirst(), { formula: additive1, thresholds });
  expect(score).toBe(0.67);
  expect(evidence?.map((entry) => [entry.count, entry.previousScore, entry.score])).toEqual([
    [1, 0.67, 0.67],
    [7, 0.6, 0.67],
    [2, 1, 0.6],
  ]);
});
