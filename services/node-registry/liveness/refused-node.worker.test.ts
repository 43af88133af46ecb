import { expect, test, vi } from "vitest";
import { z } from "zod";
import { sql, zInt8 } from "#platform/postgres/sql.ts";
import { expectNeverOffline, scaledEnv, startNodes } from "../testing/liveness-fixture.ts";
import type { SimulatedNode } from "../testing/simulated-node.ts";
import { eventsOf } from "../testing/stored-events.ts";
import { createTestNetwork, type TestNetwork } from "../testing/test-registry.ts";

/** A registry with two nodes that beat: the first one is what the test is about. */
async function startTwo(stack: AsyncDisposableStack) {
  const network = stack.use(await createTestNetwork());
  const registry = stack.use(await network.registry(scaledEnv));
  const [first, second] = await startNodes(stack, registry, 2);
  if (first === undefined || second === undefined) throw new Error("no nodes");
  const owner = await network.db.pool("node_registry", { url: network.db.url("superuser") });
  return { network, owner, first, second };
}

/** For more than a lease, and long after half of it, when a process that cannot write refuses everybody. */
async function expectHeardOn(network: TestNetwork, node: SimulatedNode): Promise<void> {
  const before = node.answers();
  await vi.waitFor(() => expect(node.answers()).toBeGreaterThan(before + 15), 60_000);
  await expectNeverOffline(network, [node]);
}

test("a heartbeat that the database refuses keeps no other node from being heard", async () => {
  await using stack = new AsyncDisposableStack();
  const { network, owner, first, second } = await startTwo(stack);
  await owner.query(sql.unsafe`
    create function node_registry.refuse() returns trigger language plpgsql as 'begin raise exception ''refused''; end'`);
  const rowId = await owner.oneFirst(sql.type(z.strictObject({ id: zInt8 }))`
    select id from node_registry.storage_nodes where node_id = decode(${first.nodeId}, 'hex')`);
  await owner.query(sql.unsafe`
    create trigger refuse before update on node_registry.node_leases for each row
    when (old.node_row_id = ${sql.literalValue(String(rowId))}) execute function node_registry.refuse()`);
  await expectHeardOn(network, second);
}, 120_000);

test("a node that is back while somebody has locked it keeps no other one from being heard, and follows", async () => {
  await using stack = new AsyncDisposableStack();
  const { network, owner, first, second } = await startTwo(stack);
  const locked = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  const locking = owner.transaction(async (tx) => {
    await tx.query(sql.unsafe`set local idle_in_transaction_session_timeout = 0`);
    await tx.query(sql.unsafe`
      select from node_registry.storage_nodes where node_id = decode(${first.nodeId}, 'hex') for no key update`);
    locked.resolve();
    await ended.promise;
  });
  await locked.promise;
  await owner.query(sql.unsafe`
    update node_registry.node_leases set liveness = 'suspect'
    where node_row_id = (select id from node_registry.storage_nodes where node_id = decode(${first.nodeId}, 'hex'))`);
  await expectHeardOn(network, second);
  ended.resolve();
  await locking;
  await vi.waitFor(async () => {
    const words = (await eventsOf(network.db, first.nodeId)).map((event) => event.word);
    expect(words.filter((word) => word === "online")).toHaveLength(2);
  }, 60_000);
}, 120_000);
