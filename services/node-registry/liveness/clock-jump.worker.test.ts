import { expect, test, vi } from "vitest";
import { NodeLiveness } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { systemClock } from "#platform/time/clock.ts";
import { livenessOf, scaledEnv, startNodes, warm } from "../testing/liveness-fixture.ts";
import { eventsOf } from "../testing/stored-events.ts";
import { createTestNetwork } from "../testing/test-registry.ts";

test.each([
  ["forward", "2 hours"],
  ["back", "-2 hours"],
])("the database's clock jumping %s takes nobody offline, and real silence is still found", async (_way, span) => {
  await using network = await createTestNetwork();
  await using stack = new AsyncDisposableStack();
  const registry = stack.use(await network.registry(scaledEnv));
  const nodes = await startNodes(stack, registry, 3);
  await warm(network.db);
  const owner = await network.db.pool("node_registry", { url: network.db.url("superuser") });
  await owner.query(sql.unsafe`
    create or replace function node_registry.lease_clock() returns timestamptz language sql volatile parallel safe
    as ${sql.literalValue(`select clock_timestamp() + interval '${span}'`)}`);
  const before = nodes.map((node) => node.answers());
  await vi.waitFor(() => {
    for (const [index, node] of nodes.entries()) expect(node.answers()).toBeGreaterThan((before[index] ?? 0) + 12);
  }, 60_000);
  for (const node of nodes) {
    const words = (await eventsOf(network.db, node.nodeId)).map((event) => event.word);
    expect(words).toEqual(["registered", "online"]);
  }
  nodes[0]?.cut();
  await vi.waitFor(
    async () => expect(await livenessOf(registry, nodes[0]?.nodeId ?? "")).toBe(NodeLiveness.OFFLINE),
    60_000,
  );
});

test("the wall clock of a registry jumping forward and back takes nobody offline, and real silence is still found", async () => {
  await using network = await createTestNetwork();
  await using stack = new AsyncDisposableStack();
  const wall = { hours: 0 };
  const clock = { ...systemClock, now: () => systemClock.now().add({ hours: wall.hours }) };
  const registry = stack.use(await network.registry(scaledEnv, { clock }));
  const nodes = await startNodes(stack, registry, 3);
  await warm(network.db);
  for (const hours of [2, -48]) {
    wall.hours = hours;
    // More than a lease of answers, with rounds of the sweep in between.
    const before = nodes.map((node) => node.answers());
    await vi.waitFor(() => {
      for (const [index, node] of nodes.entries()) expect(node.answers()).toBeGreaterThan((before[index] ?? 0) + 12);
    }, 60_000);
  }
  for (const node of nodes) {
    const words = (await eventsOf(network.db, node.nodeId)).map((event) => event.word);
    expect(words).toEqual(["registered", "online"]);
  }
  nodes[0]?.cut();
  await vi.waitFor(
    async () => expect(await livenessOf(registry, nodes[0]?.nodeId ?? "")).toBe(NodeLiveness.OFFLINE),
    60_000,
  );
}, 120_000);
