import { expect, test, vi } from "vitest";
import { NodeLiveness, NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
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

test("a change of state says nothing of liveness, one of liveness nothing of state, a goodbye both", async () => {
  await using network = await createTestNetwork();
  await using registry = await network.registry();
  const node = await registry.enroll();
  const { nodeId } = node;
  using client = node.connect();
  await client.unary(heartbeat, beat(1));
  const changes = async () =>
    (await registry.directory.explainNode({ nodeId })).transitions.map((change) => [
      [change.previousState, change.state],
      [change.previousLiveness, change.liveness],
    ]);
  await vi.waitFor(async () => expect(await changes()).toHaveLength(2), 20_000);
  await registry.directory.setNodeState({ nodeId, state: NodeState.DRAINING, reason: "moves" });
  await registry.directory.setNodeState({ nodeId, state: NodeState.DEREGISTERED, reason: "moved" });
  const none = [0, 0];
  expect(await changes()).toEqual([
    [
      [NodeState.DRAINING, NodeState.DEREGISTERED],
      [NodeLiveness.ONLINE, NodeLiveness.OFFLINE],
    ],
    [[NodeState.IN_SERVICE, NodeState.DRAINING], none],
    [none, [NodeLiveness.NEVER_SEEN, NodeLiveness.ONLINE]],
    [[NodeState.UNSPECIFIED, NodeState.IN_SERVICE], none],
  ]);
});
