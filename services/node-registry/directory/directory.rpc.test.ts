import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { WatchNodesResponse } from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import { NodeLiveness, NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { failureOf, reasonOf } from "#platform/testing/grpc-client.ts";
import { openBeats } from "../testing/beat-stream.ts";
import { beat, createTestNetwork, heartbeat, type TestNetwork, type TestRegistry } from "../testing/test-registry.ts";

let network: TestNetwork;
let registry: TestRegistry;
let other: TestRegistry;
beforeAll(async () => {
  network = await createTestNetwork();
  registry = await network.registry();
  other = await network.registry();
});
afterAll(async () => {
  await other[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  await network[Symbol.asyncDispose]();
});

async function refusalOf(call: Promise<unknown>): Promise<ConnectError> {
  return call.then(
    () => {
      throw new Error("the call did not fail");
    },
    (error: unknown) => ConnectError.from(error),
  );
}

/** Collects what a watcher gets until `isEnough`. */
async function watch(
  at: TestRegistry,
  fromRevision: bigint,
  isEnough: (all: readonly WatchNodesResponse[]) => boolean,
): Promise<WatchNodesResponse[]> {
  const all: WatchNodesResponse[] = [];
  const abort = new AbortController();
  try {
    for await (const response of at.directory.watchNodes(
      { fromRevision },
      { signal: abort.signal, timeoutMs: 60_000 },
    )) {
      all.push(response);
      if (isEnough(all)) break;
    }
  } finally {
    abort.abort();
  }
  return all;
}

test("nodes are listed by id in stable pages, and filters must all fit", async () => {
  const nodes = [];
  for (let index = 0; index < 5; index += 1) {
    nodes.push(await registry.enroll({ capacityGb: 10 + index, region: index % 2 === 0 ? "list-even" : "list-odd" }));
  }
  const wanted = nodes.map((node) => node.nodeId).sort();
  const seen: string[] = [];
  let pageToken = "";
  do {
    const page = await other.directory.listNodes({ pageSize: 2, pageToken });
    seen.push(...page.nodes.map((node) => node.nodeId));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  expect(seen.filter((nodeId) => wanted.includes(nodeId))).toEqual(wanted);
  expect(new Set(seen).size).toBe(seen.length);

  const even = await registry.directory.listNodes({ region: "list-even", minCapacityGb: 12 });
  expect(even.nodes.map((node) => node.capacityGb).sort()).toEqual([12, 14]);
  expect((await registry.directory.listNodes({ region: "list-even", onlyActive: true })).nodes).toEqual([]);
  expect((await refusalOf(registry.directory.listNodes({ pageSize: 1_001 }))).code).toBe(Code.InvalidArgument);
  expect((await refusalOf(registry.directory.listNodes({ pageToken: "x" }))).code).toBe(Code.InvalidArgument);
  expect((await refusalOf(registry.directory.getNode({ nodeId: "0".repeat(64) }))).code).toBe(Code.NotFound);
  expect((await refusalOf(registry.directory.getNode({ nodeId: "XYZ" }))).code).toBe(Code.InvalidArgument);
});

test("a list has what any replica committed before it, with the figures of nodes that beat elsewhere", async () => {
  const node = await registry.enroll({ region: "list-figures" });
  using client = node.connect();
  const listed = async (filter = {}) => (await other.directory.listNodes({ region: "list-figures", ...filter })).nodes;
  await client.unary(heartbeat, beat(1, { usedBytes: 5n, freeBytes: 7n }));
  await vi.waitFor(async () => {
    const { node: found } = await registry.directory.getNode({ nodeId: node.nodeId });
    expect(found).toMatchObject({ liveness: NodeLiveness.ONLINE, usedBytes: 5n });
  }, 20_000);
  const { node: stored } = await registry.directory.getNode({ nodeId: node.nodeId });
  expect(await listed()).toEqual([stored]);
  expect(await listed({ minFreeBytes: 8n })).toEqual([]);
  for (const state of [NodeState.DRAINING, NodeState.IN_SERVICE]) {
    await registry.directory.setNodeState({ nodeId: node.nodeId, state, reason: "test" });
    expect((await listed()).map((found) => found.state)).toEqual([state]);
  }
  await client.unary(NodeService.method.deregister, {});
  expect(await listed()).toEqual([]);
});

test("a watcher gets a snapshot, then every change in order, the same on every replica, and can resume", async () => {
  const node = await registry.enroll();
  const snapshot = await watch(other, 0n, (all) => all.at(-1)?.change.case === "snapshotEnd");
  const start = snapshot.at(-1)?.revision ?? 0n;
  expect(snapshot.slice(0, -1).every((response) => response.revision === 0n)).toBe(true);

  const isGone = (all: readonly WatchNodesResponse[]) => all.at(-1)?.change.case === "removedNodeId";
  const live = [watch(registry, start, isGone), watch(other, start, isGone)];
  using client = node.connect();
  await client.unary(heartbeat, beat(1));
  await vi.waitFor(async () => {
    const { node: found } = await registry.directory.getNode({ nodeId: node.nodeId });
    expect(found?.liveness).toBe(NodeLiveness.ONLINE);
  }, 20_000);
  await registry.directory.setNodeState({ nodeId: node.nodeId, state: NodeState.DRAINING, reason: "test" });
  await client.unary(NodeService.method.deregister, {});
  const [first = [], second = []] = await Promise.all(live);
  expect(second).toEqual(first);
  const told = first.filter((response) => isAbout(response, node.nodeId));
  expect(told.map(summaryOf)).toEqual([
    ...told.slice(0, -3).map(summaryOf),
    [NodeLiveness.ONLINE, NodeState.IN_SERVICE],
    [NodeLiveness.ONLINE, NodeState.DRAINING],
    "removed",
  ]);
  const revisions = first.map((response) => response.revision);
  expect(revisions).toEqual(revisions.map((_, index) => start + 1n + BigInt(index)));

  const resumed = await watch(registry, revisions[0] ?? 0n, isGone);
  expect(resumed).toEqual(first.slice(1));
});

function isAbout(response: WatchNodesResponse, nodeId: string): boolean {
  const { change } = response;
  return change.case === "node" ? change.value.nodeId === nodeId : change.value === nodeId;
}

function summaryOf(response: WatchNodesResponse) {
  return response.change.case === "node" ? [response.change.value.liveness, response.change.value.state] : "removed";
}

test("a revision that is not reached yet, or not kept any more, is refused", async () => {
  const unknown = await refusalOf(watch(registry, 1_000_000n, () => true));
  expect(unknown.code).toBe(Code.OutOfRange);
  const pool = await network.db.pool("node_registry");
  const { sql } = await import("#platform/postgres/sql.ts");
  await pool.query(sql.unsafe`delete from node_registry.directory_changes where revision <= 2`);
  await pool.query(sql.unsafe`update node_registry.directory_head set compacted_revision = 2`);
  await using late = await network.registry();
  const compacted = await refusalOf(watch(late, 1n, () => true));
  expect(compacted.code).toBe(Code.OutOfRange);
  expect(compacted.rawMessage).toContain("not kept");
});

test("a disqualified node is refused at its next message, on an open stream and on another replica, and can come back", async () => {
  const node = await registry.enroll();
  using client = node.connect();
  using elsewhere = node.connect(other.edgeAddress);
  const stream = openBeats(client);
  await stream.exchange(beat(1));
  const answer = await registry.directory.setNodeState({
    nodeId: node.nodeId,
    state: NodeState.DISQUALIFIED,
    reason: "lost chunks",
  });
  expect(answer.node).toMatchObject({ state: NodeState.DISQUALIFIED, isActive: false });
  expect(await stream.exchange(beat(2))).toMatchObject({ reason: "NODE_DISQUALIFIED" });
  await vi.waitFor(async () => {
    const failure = await failureOf(elsewhere.unary(heartbeat, beat(3)));
    expect(reasonOf(failure)).toBe("NODE_DISQUALIFIED");
  }, 20_000);
  const refused = await refusalOf(
    registry.enrollment.enrollNode({
      joinToken: await registry.joinToken(),
      csrPem: node.identity.csrPem,
      address: { host: "127.0.0.1", port: 1 },
      capacityGb: 1,
      softwareVersion: "x",
    }),
  );
  expect(refused.code).toBe(Code.PermissionDenied);
  expect(reasonOf(await failureOf(client.unary(NodeService.method.deregister, {})))).toBe("NODE_DISQUALIFIED");

  await registry.directory.setNodeState({ nodeId: node.nodeId, state: NodeState.IN_SERVICE, reason: "appeal" });
  await client.unary(heartbeat, beat(4));
  const { transitions } = await registry.directory.explainNode({ nodeId: node.nodeId });
  expect(transitions.map((transition) => transition.reason)).toContain("lost chunks");
  expect(transitions[0]).toMatchObject({
    previousState: NodeState.DISQUALIFIED,
    state: NodeState.IN_SERVICE,
    reason: "appeal",
  });
});

test("draining is told with every answer, maintenance ends by itself, and a node that left comes back only by enrolling", async () => {
  const node = await registry.enroll();
  using client = node.connect();
  await registry.directory.setNodeState({ nodeId: node.nodeId, state: NodeState.DRAINING, reason: "disk" });
  for (const sequence of [1, 2]) {
    const { commands, state } = await client.unary(heartbeat, beat(sequence));
    expect(state).toBe(NodeState.DRAINING);
    expect(commands.map((command) => command.command.case)).toEqual(["drain"]);
  }
  const maintenanceUntil = toTimestamp(Temporal.Now.instant().add({ seconds: 1 }).round("millisecond"));
  const inMaintenance = { nodeId: node.nodeId, state: NodeState.MAINTENANCE, maintenanceUntil, reason: "disk" };
  expect((await registry.directory.setNodeState(inMaintenance)).node?.maintenanceUntil).toEqual(maintenanceUntil);
  const past = toTimestamp(Temporal.Now.instant().subtract({ seconds: 1 }));
  for (const bad of [
    { ...inMaintenance, maintenanceUntil: past },
    { ...inMaintenance, reason: "" },
    { ...inMaintenance, state: NodeState.UNSPECIFIED },
  ]) {
    expect((await refusalOf(registry.directory.setNodeState(bad))).code).toBe(Code.InvalidArgument);
  }
  await vi.waitFor(async () => {
    const { node: found } = await registry.directory.getNode({ nodeId: node.nodeId });
    expect(found?.state).toBe(NodeState.IN_SERVICE);
    expect(found?.maintenanceUntil).toBeUndefined();
  }, 20_000);

  const left = await client.unary(NodeService.method.deregister, {});
  expect(left.node?.state).toBe(NodeState.DEREGISTERED);
  expect((await client.unary(NodeService.method.deregister, {})).node?.revision).toBe(left.node?.revision);
  expect(reasonOf(await failureOf(client.unary(heartbeat, beat(5))))).toBe("NODE_DEREGISTERED");
  const conflict = registry.directory.setNodeState({ nodeId: node.nodeId, state: NodeState.IN_SERVICE, reason: "x" });
  expect((await refusalOf(conflict)).code).toBe(Code.FailedPrecondition);
  await registry.enrollment.enrollNode({
    joinToken: await registry.joinToken(),
    csrPem: node.identity.csrPem,
    address: { host: "127.0.0.1", port: 1 },
    capacityGb: 1,
    softwareVersion: "x",
  });
  expect((await client.unary(heartbeat, beat(6))).state).toBe(NodeState.IN_SERVICE);
});

test("statistics count every state and liveness once", async () => {
  await vi.waitFor(async () => {
    const stats = await other.directory.getNetworkStats({});
    const listed = await registry.directory.listNodes({ pageSize: 1_000 });
    const present = listed.nodes.filter((node) => node.state !== NodeState.DISQUALIFIED);
    expect(stats.states).toHaveLength(5);
    expect(stats.livenesses).toHaveLength(4);
    expect(stats.livenesses.reduce((all, count) => all + count.nodes, 0)).toBe(present.length);
    expect(stats.capacityBytes).toBe(present.reduce((all, node) => all + BigInt(node.capacityGb) * 2n ** 30n, 0n));
    expect(stats.activeNodes).toBe(present.filter((node) => node.isActive).length);
    expect(stats.sweep).toMatchObject({ isStopped: false });
  }, 20_000);
});
