import { expect, test, vi } from "vitest";
import { NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { PlacementRule as Rule } from "#gen/decentrastore/node_registry/v1/placement_pb.ts";
import { beat, createTestNetwork, heartbeat } from "../testing/test-registry.ts";

test("a node is told every rule that keeps it from new chunks, and none of those that it keeps", async () => {
  await using network = await createTestNetwork();
  await using registry = await network.registry();
  const node = await registry.enroll();
  const { nodeId } = node;
  const rules = async () => (await registry.directory.explainNode({ nodeId })).brokenRules;
  expect(await rules()).toEqual([Rule.ONLINE, Rule.FREE_SPACE, Rule.PROBATION_SHARE]);
  using client = node.connect();
  await client.unary(heartbeat, beat(1, { freeBytes: 1_000n }));
  await vi.waitFor(async () => expect(await rules()).toEqual([Rule.PROBATION_SHARE]), 20_000);
  await registry.directory.setNodeState({ nodeId, state: NodeState.DRAINING, reason: "moves" });
  await client.unary(heartbeat, beat(2, { freeBytes: 0n }));
  const expected = [Rule.IN_SERVICE, Rule.FREE_SPACE, Rule.PROBATION_SHARE];
  await vi.waitFor(async () => expect(await rules()).toEqual(expected), 20_000);
});
