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
