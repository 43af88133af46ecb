import { expect, test } from "vitest";
import { randomFrom } from "#platform/testing/random.ts";
import { planFaults } from "./fault-plan.ts";

test("the same seed plans the same faults, another seed others", () => {
  const plan = (seed: number) => planFaults(randomFrom(seed), 60_000);
  expect(plan(7)).toEqual(plan(7));
  expect(plan(7)).not.toEqual(plan(8));
});

test("a run of two minutes has every kind of fault and kills every process", () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const faults = planFaults(randomFrom(seed), 120_000);
    expect(new Set(faults.map(({ kind }) => kind)).size).toBe(11);
    const killed = faults.filter(({ kind }) => kind === "kill").map(({ target }) => target);
    if (killed.length >= 5) expect(new Set(killed).size).toBe(5);
    expect(faults.every(({ atMs }) => atMs < 120_000)).toBe(true);
  }
});
