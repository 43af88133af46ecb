import { afterAll, beforeAll, expect, test } from "vitest";
import { beat, createTestNetwork, heartbeat, type TestNetwork, type TestRegistry } from "../testing/test-registry.ts";

const GB = 2n ** 30n;

let network: TestNetwork;
let registry: TestRegistry;
beforeAll(async () => {
  network = await createTestNetwork();
  registry = await network.registry();
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await network[Symbol.asyncDispose]();
});

test("a node that enrolls again with less than it said was free has no more free than it offers", async () => {
  const node = await registry.enroll({ capacityGb: 100 });
  using client = node.connect();
  await client.unary(heartbeat, beat(1, { freeBytes: 90n * GB }));
  const read = async () => (await registry.directory.getNode({ nodeId: node.nodeId })).node;
  await expect.poll(async () => (await read())?.freeBytes).toBe(90n * GB);

  const { csrPem } = node.identity;
  const answer = await registry.enrollment.enrollNode({
    joinToken: await registry.joinToken(),
    csrPem,
    address: { host: "127.0.0.1", port: 4_000 },
    capacityGb: 1,
    softwareVersion: "test/1",
  });
  expect(answer.node).toMatchObject({ capacityGb: 1, freeBytes: GB });
  expect(await read()).toMatchObject({ capacityGb: 1, freeBytes: GB });
  const explained = await registry.directory.explainNode({ nodeId: node.nodeId });
  expect(explained.lease?.areFiguresClamped).toBe(true);
  const stats = await registry.directory.getNetworkStats({});
  expect(stats.freeBytes).toBeLessThanOrEqual(stats.capacityBytes);
});
