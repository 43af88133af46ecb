import type { Random } from "#platform/testing/random.ts";
import { between, pick } from "./random.ts";

export const serviceNames = ["auth", "user-quota", "node-registry"] as const;
export const processNames = [...serviceNames, "postgres", "nats"] as const;
export type ProcessName = (typeof processNames)[number];

/** The ways through our proxies: clients to services, nodes to the edge (the far ones on their own), services to their stores. */
export const linkNames = [...serviceNames, "edge", "edge-far", "postgres", "nats"] as const;
export type LinkName = (typeof linkNames)[number];

export const streamNames = ["USERS", "QUOTAS", "NODES", "CHUNKS"] as const;
export type FullStream = (typeof streamNames)[number];

interface Timed {
  /** After the start of the load. */
  readonly atMs: number;
  /** How long it lasts; 0 where it is over at once. */
  readonly lastsMs: number;
}

export type Fault = Timed &
  (
    | { readonly kind: "kill" | "pause"; readonly target: ProcessName }
    | { readonly kind: "restart"; readonly target: (typeof serviceNames)[number] }
    | { readonly kind: "delay" | "cut" | "reset" | "freeze"; readonly target: LinkName }
    | { readonly kind: "wipe"; readonly target: "nats" }
    | { readonly kind: "fill"; readonly target: FullStream }
    | { readonly kind: "failpoints"; readonly target: string }
    /** A node, as a share of all of them. */
    | { readonly kind: "silence"; readonly target: number }
  );
export type FaultKind = Fault["kind"];

/** One of each first, so that a short run is no lottery; then as often as these weights say. */
const weights: readonly (readonly [FaultKind, number])[] = [
  ["kill", 5],
  ["failpoints", 3],
  ["wipe", 2],
  ["pause", 3],
  ["fill", 2],
  ["cut", 2],
  ["restart", 2],
  ["reset", 2],
  ["freeze", 1],
  ["delay", 2],
];

/** Only a long run has the time that it takes until a silent node is rightly called offline. */
const longRunWeights: typeof weights = [...weights, ["silence", 2]];

const failpointSets = [
  "rpc.received=kill@0.01,rpc.before-answer=kill@0.01",
  "commit.before=kill@0.02,commit.after=kill@0.02",
  "relay.before-publish=kill@0.02,relay.after-publish=kill@0.02",
  "relay.before-mark=kill@0.05,relay.after-mark=kill@0.05",
  "consumer.received=kill@0.05,consumer.before-commit=kill@0.05",
  "consumer.after-commit=kill@0.05,consumer.after-acknowledge=kill@0.05",
  "relay.after-publish=stall@0.02,consumer.after-commit=stall@0.05,commit.after=stall@0.02",
] as const;

/** From here on a run has room for a node to be away for longer than its lease. */
const LONG_RUN_MS = 60_000;

/** Everything that will be done to the system, decided by the seed before anything starts. */
export function planFaults(random: Random, durationMs: number): Fault[] {
  const faults: Fault[] = [];
  const isLongRun = durationMs >= LONG_RUN_MS;
  const kinds = isLongRun ? longRunWeights : weights;
  const firstRound = shuffled(
    random,
    kinds.map(([kind]) => kind),
  );
  const processes = shuffled(random, processNames);
  let atMs = between(random, 300, 1_000);
  while (atMs < durationMs) {
    const kind = firstRound.shift() ?? weighted(random, kinds);
    // Every process is killed once before one is killed again.
    const victim = kind === "kill" ? (processes.shift() ?? pick(random, processNames)) : pick(random, processNames);
    const fault = {
      ...makeFault(random, kind, { victim, isLongRun }),
      atMs: Math.round(atMs),
    };
    faults.push(fault);
    // Some begin before the one before them is over.
    atMs += Math.min(fault.lastsMs, 6_000) * between(random, 0.4, 1.2) + between(random, 300, 1_800);
  }
  return faults;
}

function makeFault(
  random: Random,
  kind: FaultKind,
  { victim, isLongRun }: { readonly victim: ProcessName; readonly isLongRun: boolean },
): Fault {
  const lasting = (least: number, most: number) => ({ atMs: 0, lastsMs: Math.round(between(random, least, most)) });
  switch (kind) {
    case "kill":
      return { kind, target: victim, ...lasting(0, 0) };
    case "pause":
      return { kind, target: victim, ...lasting(500, 5_000) };
    case "restart":
      return { kind, target: pick(random, serviceNames), ...lasting(0, 0) };
    case "wipe":
      return { kind, target: "nats", ...lasting(0, 0) };
    case "fill":
      return { kind, target: pick(random, streamNames), ...lasting(1_500, 5_000) };
    case "failpoints":
      return { kind, target: pick(random, failpointSets), ...lasting(3_000, 7_000) };
    case "silence":
      return { kind, target: random(), ...lasting(30_000, 45_000) };
    case "reset":
      return { kind, target: pick(random, linkNames), ...lasting(0, 0) };
    default: {
      const target = pick(random, linkNames);
      // Longer than a lease: far nodes are few and rightly called offline, and what was assigned to them goes to others;
      // the others are most of the network, which no sweep may take down at once.
      const isLong = isLongRun && kind !== "delay" && (target === "edge-far" || target === "edge");
      return { kind, target, ...(isLong ? lasting(15_000, 25_000) : lasting(500, 4_000)) };
    }
  }
}

function weighted(random: Random, kinds: typeof weights): FaultKind {
  let left = random() * kinds.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [kind, weight] of kinds) {
    left -= weight;
    if (left < 0) return kind;
  }
  return "kill";
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ item }) => item);
}
