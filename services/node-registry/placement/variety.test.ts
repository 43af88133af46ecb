import fc from "fast-check";
import { expect, test } from "vitest";
import { keepsVariety, mostDifferent } from "./variety.ts";

interface Stand {
  readonly region: number;
  readonly network: number;
}

const stands = fc.array(fc.record({ region: fc.nat(4), network: fc.nat(4) }), { maxLength: 9 });

function spreadOf(nodes: readonly Stand[]) {
  return new Map(
    [...Map.groupBy(nodes, ({ region }) => region)].map(([region, group]) => [
      region,
      new Set(group.map(({ network }) => network)),
    ]),
  );
}

function heldBy(nodes: readonly Stand[]) {
  return { regions: new Set(nodes.map((one) => one.region)), networks: new Set(nodes.map((one) => one.network)) };
}

/** By trying every choice. */
function mostOf(nodes: readonly Stand[], held: readonly Stand[]): number {
  const [first, ...rest] = nodes;
  if (first === undefined) return 0;
  const without = mostOf(rest, held);
  if (held.some((other) => other.region === first.region || other.network === first.network)) return without;
  return Math.max(without, 1 + mostOf(rest, [...held, first]));
}

test("counts as many different replicas as trying every choice does", () => {
  fc.assert(
    fc.property(
      stands,
      fc.array(fc.record({ region: fc.nat(4), network: fc.nat(4) }), { maxLength: 2 }),
      (nodes, held) => {
        expect(mostDifferent(spreadOf(nodes), heldBy(held), 9)).toBe(mostOf(nodes, held));
      },
    ),
    { numRuns: 3_000 },
  );
});

test("a subnet that spans two regions goes where it leaves the other region to somebody else", () => {
  const [west, east, other] = [
    { region: 1, network: 1 },
    { region: 2, network: 1 },
    { region: 2, network: 2 },
  ];
  const all = spreadOf([west, east, other]);
  const keeps = (next: Stand) => keepsVariety(all, heldBy([]), next, 2);
  expect([west, east, other].map(keeps)).toEqual([true, false, true]);
});
