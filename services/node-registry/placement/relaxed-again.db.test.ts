import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { PlacementRule as Rule } from "#gen/decentrastore/node_registry/v1/placement_pb.ts";
import { createChunkFixture, newChunks } from "../testing/chunk-fixture.ts";

test("a repeat names the rules that were relaxed, on every process, and those of an exchange since", async () => {
  await using f = await createChunkFixture();
  await f.addNode({ network: "10.0.1.0/24", region: "eu" });
  await f.addNode({ network: "10.0.2.0/24", region: "eu" });
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(1), replicas: 2 };
  const placed = await f.chunks.placeChunks(upload);
  expect(placed.relaxedRules).toEqual([Rule.DIFFERENT_REGIONS]);
  await using other = await f.anotherProcess();
  const repeats = await Promise.all([f, other, f, other].map(({ chunks }) => chunks.placeChunks(upload)));
  expect(repeats.map(({ relaxedRules }) => relaxedRules)).toEqual(Array(4).fill([Rule.DIFFERENT_REGIONS]));

  const [going, staying] = placed.chunks[0]?.nodes.map(({ nodeId }) => nodeId) ?? [];
  const kept = staying === undefined ? undefined : f.deps.view.node(staying);
  await f.addNode({ network: kept?.peerNetwork ?? "", region: "us" });
  const chunkHash = upload.chunks[0]?.chunkHash ?? "";
  const replacements = [{ chunkHash, failedNodeId: going ?? "" }];
  const exchange = async () => (await f.chunks.replaceNodes({ uploadId: upload.uploadId, replacements })).relaxedRules;
  const both = [Rule.DIFFERENT_SUBNETS, Rule.DIFFERENT_REGIONS];
  expect([await exchange(), await exchange()]).toEqual([both, both]);
  expect((await f.chunks.placeChunks(upload)).relaxedRules).toEqual(both);
});

test("calls of one upload at the same moment all name the rules that were relaxed", async () => {
  await using f = await createChunkFixture();
  await using other = await f.anotherProcess();
  for (const one of [f, other]) await one.addNode({ network: "10.0.0.0/24", region: "eu" });
  await f.addNode({ network: "10.0.0.0/24", region: "eu" });
  const upload = { userId: randomUUID(), uploadId: randomUUID(), chunks: newChunks(5), replicas: 2 };
  const answers = await Promise.all(Array.from({ length: 8 }, () => f.chunks.placeChunks(upload)));
  const expected = [Rule.DIFFERENT_SUBNETS, Rule.DIFFERENT_REGIONS];
  expect(answers.map(({ relaxedRules }) => relaxedRules)).toEqual(Array(8).fill(expected));
});
