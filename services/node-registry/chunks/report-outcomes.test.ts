import { expect, test } from "vitest";
import { decideReports, type KnownReplica, type LockedChunk, pairKey } from "./report-outcomes.ts";

const hash = "a".repeat(64);

function chunk(changes: Partial<LockedChunk> = {}): LockedChunk {
  return {
    chunkHash: hash,
    ownerId: "owner",
    sizeBytes: 10n,
    generation: 1,
    wantedReplicas: 3,
    confirmedReplicas: 0,
    liveReplicas: 0,
    payingUploadId: "upload",
    reservationId: null,
    hasQuorum: false,
    isReleased: false,
    eventVersion: 4n,
    ...changes,
  };
}

function known(states: Record<string, KnownReplica["state"]>, of = chunk()) {
  return {
    chunks: new Map([[hash, of]]),
    replicas: new Map(
      Object.entries(states).map(([node, state]) => [
        pairKey(BigInt(node), hash),
        { state, blockIndex: 2, isRepair: false },
      ]),
    ),
    deletions: new Map([[pairKey(9n, hash), "released" as const]]),
  };
}

const from = (nodeRowId: bigint, sizeBytes?: bigint) => ({ nodeRowId, chunkHash: hash, sizeBytes });

test("a batch that carries a chunk to all its replicas reaches the quorum exactly once, in the order of the reports", () => {
  const reports = [from(1n), from(2n, 10n), from(1n), from(3n)];
  const { outcomes, confirmations } = decideReports(reports, known({ 1: "assigned", 2: "assigned", 3: "assigned" }));
  expect(outcomes).toEqual(["confirmed", "confirmed", "already_confirmed", "confirmed"]);
  expect(confirmations.map((made) => [made.confirmedReplicas, made.eventVersion, made.reachedQuorum])).toEqual([
    [1, 5n, false],
    [2, 6n, true],
    [3, 7n, false],
  ]);
});

test("a chunk that lost replicas below its quorum and gains them again does not reach it again", () => {
  const stored = chunk({ hasQuorum: true, confirmedReplicas: 1 });
  const { confirmations } = decideReports([from(1n), from(2n)], known({ 1: "lost", 2: "assigned" }, stored));
  expect(confirmations.map((made) => [made.reachedQuorum, made.wasLost])).toEqual([
    [false, true],
    [false, false],
  ]);
});

test("a node to which the chunk was never assigned hears nothing about it, one that must delete it hears why", () => {
  const reports = [from(7n), from(9n), from(1n, 11n)];
  expect(decideReports(reports, known({ 1: "assigned" })).outcomes).toEqual(["not_placed", "released", "wrong_size"]);
});
