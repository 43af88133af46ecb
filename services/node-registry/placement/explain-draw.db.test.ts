import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { PlacementRule as Rule } from "#gen/decentrastore/node_registry/v1/placement_pb.ts";
import type { PlacementCandidate } from "../directory/network-view.ts";
import { createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";
import { drawNodes, PROBATION_SHARE } from "./draw.ts";
import { explainCandidates } from "./explanation.ts";
import { buildPools } from "./pools.ts";
import { buildRoster } from "./roster.ts";
import { toProtoRules } from "./rules.ts";

test("where each node shares something with the holder, a rule is named as relaxed and its nodes are eligible", async () => {
  await using f = await createChunkFixture();
  await f.addNode({ network: "10.0.1.0/24", region: "eu" });
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(1), replicas: 1 };
  await f.chunks.placeChunks(upload);
  const chunkHash = upload.chunks[0]?.chunkHash ?? "";
  await f.addNode({ network: "10.0.1.0/24", region: "us" });
  const chosen = await f.addNode({ network: "10.0.2.0/24", region: "eu" });
  const explained = await f.chunks.explainPlacement({ chunkHash, replicas: 2 });
  expect(explained).toMatchObject({ eligibleNodes: 1, isPlaceable: true, relaxedRules: [Rule.DIFFERENT_REGIONS] });
  expect(explained.candidates.find(({ isEligible }) => isEligible)?.nodeId).toBe(chosen.nodeId);
  const placed = await f.chunks.placeChunks({ ...upload, uploadId: randomUUID(), replicas: 2 });
  expect(placed.relaxedRules).toEqual(explained.relaxedRules);
  expect(placed.chunks[0]?.nodes.map(({ nodeId }) => nodeId)).toContain(chosen.nodeId);
});

test("nodes on probation that are asked for another subnet are named, and a chunk wants no fewer replicas than before", async () => {
  await using f = await createChunkFixture();
  await f.addNode({ network: "10.0.1.0/24", region: "eu" });
  await f.addNode({ network: "10.0.1.0/24", region: "us" });
  const young = await f.addNode({ network: "10.0.3.0/24", region: "asia", isOnProbation: true });
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(1), replicas: 2 };
  const before = await f.chunks.explainPlacement({ replicas: 2 });
  expect(before.relaxedRules).toEqual([Rule.PROBATION_SHARE]);
  const placed = await f.chunks.placeChunks(upload);
  expect(placed.chunks[0]?.nodes.map(({ nodeId }) => nodeId)).toContain(young.nodeId);
  const chunkHash = upload.chunks[0]?.chunkHash ?? "";
  await f.chunks.placeChunks({ ...upload, uploadId: randomUUID(), replicas: 3 });
  for (const node of placed.chunks[0]?.nodes ?? []) await f.changeNode(f.nodeById(node.nodeId), { state: "draining" });
  expect(await f.chunks.explainPlacement({ chunkHash, replicas: 1 })).toEqual(
    await f.chunks.explainPlacement({ chunkHash, replicas: 3 }),
  );
});

test("a node that enrolled a moment ago on another process is explained", async () => {
  await using f = await createChunkFixture();
  await using other = await f.anotherProcess();
  const { nodeId } = await f.addNode();
  const { candidates, eligibleNodes } = await other.chunks.explainPlacement({ nodeId });
  expect(candidates).toMatchObject([{ nodeId, isEligible: true }]);
  expect(eligibleNodes).toBe(1);
});

const networks = fc.record({
  nodes: fc.array(
    fc.record({ network: fc.nat(4), region: fc.nat(4), isOnProbation: fc.boolean(), isFull: fc.boolean() }),
    { maxLength: 10 },
  ),
  replicas: fc.integer({ min: 1, max: 4 }),
  holders: fc.nat(3),
});

test("in any network the explanation says whom the draw can take, whether it finds enough, and what gives way", () => {
  fc.assert(
    fc.property(networks, ({ nodes: traits, replicas, holders }) => {
      const nodes = traits.map(
        ({ network, region, isOnProbation, isFull }, index): PlacementCandidate => ({
          nodeId: index.toString(16).padStart(64, "0"),
          rowId: BigInt(index),
          address: { host: "127.0.0.1", port: 9_000 },
          peerNetwork: `10.0.${network}.0/24`,
          region: `r${region}`,
          capacityBytes: 1_000,
          freeBytes: isFull ? 0 : 500,
          usedBytes: 0,
          state: "in_service",
          liveness: "online",
          reputationScore: 1,
          responsiveness: 1,
          isOnProbation,
          revision: 1n,
        }),
      );
      const held = new Set(nodes.slice(0, holders).map((node) => node.rowId));
      const question = { sizeBytes: 1, replicas: held.size + replicas, holders: held, counting: held.size };
      const explained = explainCandidates(nodes, { ...question, deleting: new Set() }, () => 0);
      const pools = buildPools(buildRoster(nodes), new Map(), 1);
      const positions = [...held].flatMap((rowId) => pools.roster.positions.get(Number(rowId)) ?? []);
      const request = { count: replicas, holders: positions, barred: [], accept: () => true };
      const drawn = drawNodes(pools, request, Math.random);
      expect(explained.isPlaceable).toBe(drawn !== undefined);
      expect(explained.eligibleNodes >= replicas).toBe(explained.isPlaceable);
      if (drawn === undefined) return;
      const first = pools.roster.nodes[drawn.chosen[0] ?? -1]?.nodeId ?? "";
      expect(explained.candidates.find(({ nodeId }) => nodeId === first)).toMatchObject({ isEligible: true });
      expect(explained.candidates.find(({ nodeId }) => nodeId === first)?.drawShare).toBeGreaterThan(0);
      expect(explained.candidates.reduce((sum, { drawShare }) => sum + drawShare, 0)).toBeCloseTo(1);
      // A replica that falls to nodes on probation by chance may spare a rule; above their share of chances none does.
      const unshared = drawNodes(pools, request, () => PROBATION_SHARE + (1 - PROBATION_SHARE) * Math.random());
      const gaveWay = toProtoRules(unshared?.relaxed ?? new Set());
      if (explained.relaxed.includes(Rule.PROBATION_SHARE)) {
        expect(gaveWay).toEqual(
          expect.arrayContaining(explained.relaxed.filter((rule) => rule !== Rule.PROBATION_SHARE)),
        );
        expect(gaveWay.includes(Rule.DIFFERENT_SUBNETS)).toBe(explained.relaxed.includes(Rule.DIFFERENT_SUBNETS));
      } else expect(gaveWay).toEqual(explained.relaxed);
    }),
    { numRuns: 5_000 },
  );
});
