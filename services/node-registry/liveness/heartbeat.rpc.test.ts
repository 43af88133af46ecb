import { expect, test, vi } from "vitest";
import { NodeLiveness, NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { beat, createTestNetwork, heartbeat } from "../testing/test-registry.ts";

test("a node enrolls, beats, and is online with its figures", async () => {
  await using network = await createTestNetwork();
  await using registry = await network.registry();
  const node = await registry.enroll({ region: "eu-west" });
  const before = await registry.directory.getNode({ nodeId: node.nodeId });
  expect(before.node).toMatchObject({ liveness: NodeLiveness.NEVER_SEEN, isActive: false, region: "eu-west" });

  using client = node.connect();
  const answer = await client.unary(heartbeat, beat(1, { usedBytes: 7n, freeBytes: 9n, chunkCount: 3n }));
  expect(answer.state).toBe(NodeState.IN_SERVICE);
  expect(answer.commands).toEqual([]);
  const seconds = Number(answer.nextHeartbeatIn?.seconds);
  expect(seconds).toBeGreaterThanOrEqual(13);
  expect(seconds).toBeLessThanOrEqual(17);

  const after = await vi.waitFor(async () => {
    const { node: found } = await registry.directory.getNode({ nodeId: node.nodeId });
    expect(found?.liveness).toBe(NodeLiveness.ONLINE);
    return found;
  }, 20_000);
  expect(after).toMatchObject({
    usedBytes: 7n,
    freeBytes: 9n,
    chunkCount: 3n,
    isActive: true,
    state: NodeState.IN_SERVICE,
  });
});

test("a heartbeat without a sequence renews the lease and changes no figures", async () => {
  await using network = await createTestNetwork();
  await using registry = await network.registry();
  const node = await registry.enroll();
  using client = node.connect();
  await client.unary(heartbeat, beat(0, { usedBytes: 7n, freeBytes: 9n, chunkCount: 3n }));
  const after = await vi.waitFor(async () => {
    const { node: found } = await registry.directory.getNode({ nodeId: node.nodeId });
    expect(found?.liveness).toBe(NodeLiveness.ONLINE);
    return found;
  }, 20_000);
  expect(after).toMatchObject({ usedBytes: 0n, chunkCount: 0n });
});
