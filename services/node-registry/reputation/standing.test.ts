import { expect, test } from "vitest";
import { additive1, type Evidence, replay } from "./formula.ts";
import { judge } from "./standing.ts";

const thresholds = { probationBelow: 0.7, disqualifyBelow: 0.4, silenceGraceMs: 3_600_000 };
const noon = Temporal.Instant.from("2026-01-01T12:00:00Z");
const never = { belowSince: undefined };

function standingAfter(...log: Evidence[]) {
  return replay(additive1, log);
}

test("a score at a threshold is still on the better side of it", () => {
  expect(judge(standingAfter({ kind: "proof_failed", count: 3 }), thresholds, never, noon).isOnProbation).toBe(false);
  expect(judge(standingAfter({ kind: "proof_failed", count: 4 }), thresholds, never, noon).isOnProbation).toBe(true);
  const atThreshold = judge(standingAfter({ kind: "proof_failed", count: 6 }), thresholds, never, noon);
  expect(atThreshold).toMatchObject({ disqualification: undefined, belowSince: undefined });
});

test("failed and invalid proofs shut a node out at once, with the reason", () => {
  const judgement = judge(standingAfter({ kind: "proof_failed", count: 7 }), thresholds, never, noon);
  expect(judgement.disqualification).toBe("reputation 0.3 by failed and invalid proofs is below 0.4");
  expect(judgement.belowSince).toEqual(noon);
});

test("timeouts alone put a node on probation, and shut it out only after the grace period", () => {
  const silent = standingAfter({ kind: "proof_timed_out", count: 20 });
  const first = judge(silent, thresholds, never, noon);
  expect(first).toEqual({ isOnProbation: true, belowSince: noon, disqualification: undefined });
  const almost = judge(silent, thresholds, first, noon.add({ minutes: 59 }));
  expect(almost).toEqual(first);
  const later = judge(silent, thresholds, first, noon.add({ hours: 1 }));
  expect(later.disqualification).toContain("timeouts included, has been below 0.4 since 2026-01-01T12:00:00Z");
});

test("a recovery in between starts the grace period anew", () => {
  const first = judge(standingAfter({ kind: "proof_timed_out", count: 20 }), thresholds, never, noon);
  const recovered = standingAfter({ kind: "proof_timed_out", count: 20 }, { kind: "proof_succeeded", count: 60 });
  expect(judge(recovered, thresholds, first, noon.add({ hours: 2 })).belowSince).toBeUndefined();
});
