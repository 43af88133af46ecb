import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { RegionStats } from "#gen/decentrastore/node_registry/v1/network_stats_pb.ts";
import { NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { beat, createTestNetwork, heartbeat, type TestNetwork } from "../testing/test-registry.ts";

let network: TestNetwork;
beforeAll(async () => {
  network = await createTestNetwork();
});
afterAll(() => network[Symbol.asyncDispose]());

const GB = 2n ** 30n;

test("one process and two tell the same sums, which follow what nodes say and who leaves", async () => {
  await using alone = await network.registry();
  // Until the first lease is over nobody is called silent, and the answer says so.
  await vi.waitFor(
    async () => expect((await alone.directory.getNetworkStats({})).sweep?.warmingUpUntil).toBeDefined(),
    20_000,
  );
  const regions = ["north", "north", "south", "gone", "banned"];
  const nodes = [];
  for (const region of regions) {
    const node = await alone.enroll({ region });
    nodes.push(node);
    using client = node.connect();
    await client.unary(heartbeat, { ...beat(1), usedBytes: 5n, freeBytes: 7n });
    if (region === "gone") await client.unary(NodeService.method.deregister, {});
    if (region === "banned") {
      await alone.directory.setNodeState({ nodeId: node.nodeId, state: NodeState.DISQUALIFIED, reason: "for a test" });
    }
  }
  const expected = {
    usedBytes: 15n,
    freeBytes: 21n,
    capacityBytes: 300n * GB,
    activeNodes: 3,
    states: [3, 0, 0, 1, 1],
    regions: [
      { region: "north", nodes: 2, capacityBytes: 200n * GB, freeBytes: 14n },
      { region: "south", nodes: 1, capacityBytes: 100n * GB, freeBytes: 7n },
    ],
    softwareVersions: [{ softwareVersion: "test/1", nodes: 3 }],
  };
  const told = async (registry: typeof alone) => {
    const stats = await registry.directory.getNetworkStats({});
    const { usedBytes, freeBytes, capacityBytes, activeNodes } = stats;
    return {
      ...{ usedBytes, freeBytes, capacityBytes, activeNodes },
      states: stats.states.map((count) => count.nodes),
      regions: stats.regions.map(plain),
      softwareVersions: stats.softwareVersions.map(({ softwareVersion, nodes }) => ({ softwareVersion, nodes })),
    };
  };
  await vi.waitFor(async () => expect(await told(alone)).toEqual(expected), 20_000);
  await using second = await network.registry();
  await vi.waitFor(async () => expect(await told(second)).toEqual(expected), 20_000);
  await vi.waitFor(async () => expect(await told(alone)).toEqual(expected), 20_000);
});

test("figures that add up to more than an int64 do not make the answer fail", async () => {
  const pool = await network.db.pool("node_registry");
  await pool.query(sql.unsafe`
    with node as (
      insert into node_registry.storage_nodes (node_id, address_host, address_port, capacity_gb)
      select sha256(n::text::bytea), 'liar', 1, 1 from generate_series(1, 1100) n returning id
    )
    insert into node_registry.node_leases (node_row_id, used_bytes)
    select id, ${Number.MAX_SAFE_INTEGER} from node`);
  await using registry = await network.registry();
  expect((await registry.directory.getNetworkStats({})).usedBytes).toBe(2n ** 63n - 1n);
});

function plain({ region, nodes, capacityBytes, freeBytes }: RegionStats) {
  return { region, nodes, capacityBytes, freeBytes };
}
