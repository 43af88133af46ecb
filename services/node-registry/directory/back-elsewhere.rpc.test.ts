import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { failureOf, reasonOf } from "#platform/testing/grpc-client.ts";
import { beat, createTestNetwork, heartbeat, type TestNetwork, type TestRegistry } from "../testing/test-registry.ts";

let network: TestNetwork;
let one: TestRegistry;
let other: TestRegistry;
beforeAll(async () => {
  network = await createTestNetwork();
  one = await network.registry();
  other = await network.registry();
});
afterAll(async () => {
  await one[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  await network[Symbol.asyncDispose]();
});

test("a node that is refused, enrolls again with one registry and goes on with another is admitted at once", async () => {
  const node = await one.enroll();
  using client = node.connect(other.edgeAddress);
  for (let round = 0; round < 5; round += 1) {
    await client.unary(heartbeat, beat(1));
    await one.directory.setNodeState({ nodeId: node.nodeId, state: NodeState.DEREGISTERED, reason: "moves" });
    await vi.waitFor(async () => {
      expect(reasonOf(await failureOf(client.unary(heartbeat, beat(2))))).toBe("NODE_DEREGISTERED");
    }, 20_000);
    await one.enrollment.enrollNode({
      joinToken: await one.joinToken(),
      csrPem: node.identity.csrPem,
      address: { host: "127.0.0.1", port: 4_000 },
      capacityGb: 100,
      softwareVersion: "test/1",
    });
    expect((await client.unary(heartbeat, beat(1))).state, `round ${round}`).toBe(NodeState.IN_SERVICE);
  }
});

test("a node that an admin brings back through one registry is admitted by another at once", async () => {
  const node = await one.enroll();
  const { nodeId } = node;
  using client = node.connect(other.edgeAddress);
  await client.unary(heartbeat, beat(1));
  await one.directory.setNodeState({ nodeId, state: NodeState.DISQUALIFIED, reason: "lost chunks" });
  await vi.waitFor(async () => {
    expect(reasonOf(await failureOf(client.unary(heartbeat, beat(2))))).toBe("NODE_DISQUALIFIED");
  }, 20_000);
  await one.directory.setNodeState({ nodeId, state: NodeState.IN_SERVICE, reason: "appeal" });
  const { csrPem } = node.identity;
  expect((await client.unary(NodeService.method.renewCertificate, { csrPem })).certificatePem).toContain("BEGIN");
  expect((await client.unary(heartbeat, beat(3))).state).toBe(NodeState.IN_SERVICE);
});
