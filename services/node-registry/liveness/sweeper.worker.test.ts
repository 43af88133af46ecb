import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { z } from "zod";
import { NodeLiveness, NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { LEASE_MS, livenesses, livenessOf, scaledEnv, startNodes, warm } from "../testing/liveness-fixture.ts";
import { eventsOf } from "../testing/stored-events.ts";
import { beat, createTestNetwork, heartbeat, type TestNetwork, type TestRegistry } from "../testing/test-registry.ts";

let network: TestNetwork;
let registry: TestRegistry;
beforeAll(async () => {
  network = await createTestNetwork();
  registry = await network.registry(scaledEnv);
  await warm(network.db);
});
afterEach(async () => {
  // What is left of one test must not count in the next.
  const { nodes } = await registry.directory.listNodes({ pageSize: 1_000 });
  for (const { nodeId } of nodes) {
    await registry.directory.setNodeState({ nodeId, state: NodeState.DEREGISTERED, reason: "the test is over" });
  }
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await network[Symbol.asyncDispose]();
});

test("a silent node is suspect at half the lease, offline at the lease, and online again when it returns", async () => {
  await using stack = new AsyncDisposableStack();
  const [node] = await startNodes(stack, registry, 1);
  if (node === undefined) throw new Error("no node");
  node.cut();
  await vi.waitFor(async () => expect(await livenessOf(registry, node.nodeId)).toBe(NodeLiveness.SUSPECT), {
    timeout: 60_000,
    interval: 50,
  });
  await vi.waitFor(async () => expect(await livenessOf(registry, node.nodeId)).toBe(NodeLiveness.OFFLINE), {
    timeout: 60_000,
    interval: 50,
  });
  node.reconnect();
  await vi.waitFor(async () => expect(await livenessOf(registry, node.nodeId)).toBe(NodeLiveness.ONLINE), 60_000);

  const events = await eventsOf(network.db, node.nodeId);
  expect(events.map((event) => event.word)).toEqual(["registered", "online", "suspect", "offline", "online"]);
  expect(events.map((event) => event.keyVersion)).toEqual([1n, 2n, 3n, 4n, 5n]);
  const { transitions, lease } = await registry.directory.explainNode({ nodeId: node.nodeId });
  const silentS = transitions.map(
    ({ evidence }) => /^last heartbeat (\d+(\.\d)?) s ago, lease 4 s$/.exec(evidence)?.[1],
  );
  expect(Number(silentS[1])).toBeGreaterThanOrEqual(LEASE_MS / 1_000);
  expect(Number(silentS[2])).toBeGreaterThanOrEqual(LEASE_MS / 2_000);
  expect(lease?.epoch).toBeGreaterThanOrEqual(2);
});

test("a node that has left is offline at once, is never called silent, and is back with its first heartbeat", async () => {
  await using stack = new AsyncDisposableStack();
  const [leaving, silent] = await startNodes(stack, registry, 2);
  if (leaving === undefined || silent === undefined) throw new Error("no nodes");
  const node = await registry.enroll();
  using client = node.connect();
  await client.unary(heartbeat, beat(1));
  await vi.waitFor(async () => expect(await livenessOf(registry, node.nodeId)).toBe(NodeLiveness.ONLINE), 60_000);
  const left = await client.unary(NodeService.method.deregister, {});
  expect(left.node).toMatchObject({ liveness: NodeLiveness.OFFLINE, isActive: false });
  silent.cut();
  await vi.waitFor(async () => expect(await livenessOf(registry, silent.nodeId)).toBe(NodeLiveness.OFFLINE), 60_000);
  const words = async () => (await eventsOf(network.db, node.nodeId)).map((event) => event.word);
  expect(await words()).toEqual(["registered", "online", "state_changed", "deregistered"]);
  await registry.enroll({ csrPem: node.identity.csrPem });
  const { node: returned } = await registry.directory.getNode({ nodeId: node.nodeId });
  expect(returned).toMatchObject({ state: NodeState.IN_SERVICE, liveness: NodeLiveness.OFFLINE, isActive: false });
  await client.unary(heartbeat, beat(1));
  await vi.waitFor(async () => expect((await words()).slice(4)).toEqual(["state_changed", "online"]), 60_000);
});

test("60 % of ten nodes cut off at once stop the sweep, until enough return, and the rest has a lease to follow", async () => {
  await using stack = new AsyncDisposableStack();
  const nodes = await startNodes(stack, registry, 10);
  for (const node of nodes.slice(0, 6)) node.cut();
  await vi.waitFor(async () => {
    const { sweep } = await registry.directory.getNetworkStats({});
    expect(sweep?.isStopped).toBe(true);
    expect(sweep?.onlineNodes).toBe(10);
  }, 60_000);
  await vi.waitFor(
    async () => expect(await livenesses(registry)).toEqual({ [NodeLiveness.ONLINE]: 4, [NodeLiveness.SUSPECT]: 6 }),
    60_000,
  );
  for (const node of nodes.slice(0, 4)) node.reconnect();
  await vi.waitFor(async () => {
    const { sweep } = await registry.directory.getNetworkStats({});
    expect(sweep?.isStopped).toBe(false);
    expect(await livenesses(registry)).toEqual({ [NodeLiveness.ONLINE]: 8, [NodeLiveness.OFFLINE]: 2 });
  }, 60_000);
  expect(await offlineAfterResumedMs()).toBeGreaterThanOrEqual(LEASE_MS);
});

test("nodes that come and go together do not keep a dead one from being found", async () => {
  await using stack = new AsyncDisposableStack();
  const [dead, ...nodes] = await startNodes(stack, registry, 12);
  if (dead === undefined) throw new Error("no node");
  const flickering = nodes.slice(0, 5);
  const isStopped = async () => (await registry.directory.getNetworkStats({})).sweep?.isStopped;
  for (const node of [dead, ...flickering]) node.cut();
  await vi.waitFor(async () => expect(await isStopped()).toBe(true), 60_000);
  for (const node of flickering) node.reconnect();
  await vi.waitFor(async () => expect(await isStopped()).toBe(false), 60_000);
  for (const node of flickering) node.cut();
  await vi.waitFor(async () => {
    const counts = await livenesses(registry);
    expect([await isStopped(), counts[NodeLiveness.OFFLINE]]).toEqual([true, 1]);
  }, 40_000);
  expect(await livenessOf(registry, dead.nodeId)).toBe(NodeLiveness.OFFLINE);
});

test("an admin lets a stopped sweep go on", async () => {
  await using stack = new AsyncDisposableStack();
  const nodes = await startNodes(stack, registry, 6);
  for (const node of nodes) node.cut();
  await vi.waitFor(
    async () => expect((await registry.directory.getNetworkStats({})).sweep?.isStopped).toBe(true),
    60_000,
  );
  await registry.directory.resumeSweep({ reason: "the data centre burnt down" });
  await vi.waitFor(async () => expect(await livenesses(registry)).toEqual({ [NodeLiveness.OFFLINE]: 6 }), 60_000);
});

test("nodes in maintenance may be silent without stopping the sweep", async () => {
  await using stack = new AsyncDisposableStack();
  const nodes = await startNodes(stack, registry, 10);
  const maintenanceUntil = toTimestamp(Temporal.Now.instant().add({ minutes: 5 }));
  for (const node of nodes.slice(0, 6)) {
    await registry.directory.setNodeState({
      nodeId: node.nodeId,
      state: NodeState.MAINTENANCE,
      maintenanceUntil,
      reason: "move",
    });
    node.cut();
  }
  await vi.waitFor(
    async () => expect(await livenesses(registry)).toEqual({ [NodeLiveness.ONLINE]: 4, [NodeLiveness.OFFLINE]: 6 }),
    60_000,
  );
  expect((await registry.directory.getNetworkStats({})).sweep?.isStopped).toBe(false);
});

/** From the moment the sweep went on to the first node that was called offline since, by the database's clock. */
async function offlineAfterResumedMs(): Promise<number> {
  const pool = await network.db.pool("node_registry");
  const { ms } = await pool.one(sql.type(z.strictObject({ ms: z.number() }))`
    with resumed as (
      select max(occurred_at) as at from node_registry.node_history where kind = 'sweep' and reason = 'resumed'
    )
    select extract(epoch from min(h.occurred_at) - resumed.at)::float8 * 1000 as ms
    from resumed join node_registry.node_history h on h.occurred_at >= resumed.at
    where h.kind = 'liveness' and h.liveness = 'offline'
    group by resumed.at`);
  return ms;
}
