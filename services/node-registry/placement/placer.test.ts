import { expect, test } from "vitest";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { BYTES_PER_GB, type NodeRecord } from "../directory/node-record.ts";
import { createNodeTable } from "../directory/node-table.ts";
import { createPlacer } from "./placer.ts";

test("what is assigned while all nodes are being read is counted until the next reading has seen it", () => {
  const placer = createPlacer({ view: createNodeTable(), clock: new ManualClock(), random: Math.random });
  placer.assigned(1n, 100);
  placer.readingAssigned();
  placer.assigned(1n, 20);
  placer.assigned(2n, 3);
  placer.replaceAssigned(new Map([[1n, 100]]));
  expect([placer.assignedBytesOf(1n), placer.assignedBytesOf(2n)]).toEqual([120, 3]);
  placer.readingAssigned();
  placer.replaceAssigned(new Map([[1n, 120]]));
  expect([placer.assignedBytesOf(1n), placer.assignedBytesOf(2n)]).toEqual([120, 0]);
});

const MIB = 2 ** 20;

function node(index: number, region: string, freeBytes: number): NodeRecord {
  const now = Temporal.Instant.from("2026-01-01T00:00:00Z");
  return {
    nodeId: index.toString(16).padStart(64, "0"),
    rowId: BigInt(index),
    address: { host: "example.org", port: 9_000 },
    peerNetwork: `10.0.${index}.0/24`,
    region,
    softwareVersion: "1",
    capacityGb: 100,
    capacityBytes: 100 * BYTES_PER_GB,
    freeBytes,
    usedBytes: 0,
    chunkCount: 0,
    state: "in_service",
    liveness: "online",
    isActive: true,
    lastHeartbeat: now,
    maintenanceUntil: null,
    certificateExpiresAt: null,
    certificateAuthorityId: null,
    reputationScore: 1,
    responsiveness: 1,
    isOnProbation: false,
    revision: 1n,
    createdAt: now,
  };
}

test("a small chunk behind a large one goes to every region that has room for it", () => {
  const view = createNodeTable();
  for (let index = 1; index <= 3; index += 1) view.put(node(index, "roomy", 100 * BYTES_PER_GB));
  for (let index = 4; index <= 23; index += 1) view.put(node(index, "narrow", MIB));
  for (let index = 24; index <= 43; index += 1) view.put(node(index, "also narrow", MIB));
  const placer = createPlacer({ view, clock: new ManualClock(), random: Math.random });
  const terms = { count: 3, holders: [], barred: [], isOptional: false };
  const placement = placer.place([
    { ...terms, chunkHash: "large", sizeBytes: 64n * BigInt(MIB) },
    { ...terms, chunkHash: "small", sizeBytes: 1_000n },
    { ...terms, chunkHash: "large as well", sizeBytes: 64n * BigInt(MIB) },
  ]);
  const regionsOf = (chunkHash: string) =>
    (placement?.nodes.get(chunkHash) ?? []).map((rowId) => view.nodeByRowId(rowId)?.region).sort();
  expect(regionsOf("large")).toEqual(["roomy", "roomy", "roomy"]);
  expect(regionsOf("small")).toEqual(["also narrow", "narrow", "roomy"]);
  expect(regionsOf("large as well")).toEqual(["roomy", "roomy", "roomy"]);
});

test("chunks of however many sizes are placed as long as there is room for them", () => {
  const view = createNodeTable();
  for (let index = 1; index <= 3; index += 1) view.put(node(index, "roomy", 100 * BYTES_PER_GB));
  for (let index = 4; index <= 43; index += 1) view.put(node(index, "full", 1));
  const placer = createPlacer({ view, clock: new ManualClock(), random: Math.random });
  const sizes = Array.from({ length: 26 }, (_, power) => 2n ** BigInt(26 - power));
  const placement = placer.place(
    sizes.map((sizeBytes) => ({
      ...{ chunkHash: String(sizeBytes), sizeBytes, count: 3 },
      ...{ holders: [], barred: [], isOptional: false },
    })),
  );
  expect([...(placement?.nodes.values() ?? [])].map((rowIds) => rowIds.toSorted())).toEqual(
    sizes.map(() => [1n, 2n, 3n]),
  );
});
