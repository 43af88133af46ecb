import { expect, test } from "vitest";
import { brokenBy, outboxOf, type SoundRun, type Spoilt, seen } from "./sound-run.ts";

/** Six nodes are cut off together for 20 s, and these of them are called offline. */
function cutOff({ history, observed }: SoundRun, offline: readonly string[]): Spoilt {
  const ofOne = history.beats.filter(({ nodeId }) => nodeId === "n1");
  const beats = ["n1", "n2", "n3", "n4", "n5", "n6"].flatMap((nodeId) =>
    ofOne.map((beat) => ({ ...beat, nodeId, answeredAtMs: beat.sentAtMs < 40_000 ? beat.answeredAtMs : undefined })),
  );
  const rows = outboxOf(offline.map((nodeId) => ["node_registry", "NodeOffline", nodeId] as const));
  const late = rows.map((row, index) => ({ ...row, id: 90 + index, eventId: `late${index}`, createdAtMs: 55_000 }));
  const cut = { what: "cut", target: "edge", fromMs: 40_000, toMs: 60_000 };
  return {
    history: { beats, disturbances: [cut], seen: [...history.seen, ...late.map(seen)] },
    observed: { outbox: [...observed.outbox, ...late] },
  };
}

test("nodes that were cut off are rightly called offline, and not most of the network at once", () => {
  expect(brokenBy((run) => cutOff(run, ["n1", "n2"]))).toEqual({});
  expect(Object.keys(brokenBy((run) => cutOff(run, ["n1", "n2", "n3"])))).toEqual(["4"]);
});

const told = ({ history }: SoundRun, names: readonly string[], liveness: string): Spoilt => {
  const outbox = outboxOf(names.map((name) => ["node_registry", name, "n0"] as const));
  const only = { joined: ["n0"], seen: outbox.map(seen) };
  const none = { users: [], uploads: [], limits: [], revocations: [], confirmed: new Set<string>() };
  const nothing = { lost: [], stored: [], thresholds: [] };
  return {
    history: { ...history, ...none, ...only },
    observed: {
      outbox,
      liveness: new Map([["n0", liveness]]),
      ...{ chunks: [], replicas: new Set(), accounts: [] },
      told: nothing,
    },
  };
};
const objections = (names: readonly string[], liveness: string) =>
  brokenBy((run) => told(run, names, liveness))[1] ?? [];

test("every change of a node's liveness is told, from its coming to how it is now", () => {
  expect(objections(["NodeRegistered", "NodeOnline", "NodeSuspect", "NodeOffline", "NodeOnline"], "online")).toEqual(
    [],
  );
  expect(objections(["NodeOnline"], "online")).toHaveLength(1);
  expect(objections(["NodeRegistered", "NodeOnline"], "suspect")).toHaveLength(1);
  expect(objections(["NodeRegistered", "NodeOnline", "NodeOnline"], "online")).toHaveLength(1);
  expect(objections(["NodeRegistered", "NodeOffline"], "offline")).toHaveLength(1);
  expect(objections(["NodeRegistered"], "online")).toHaveLength(1);
});
