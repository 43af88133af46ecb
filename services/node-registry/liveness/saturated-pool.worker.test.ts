import { expect, test, vi } from "vitest";
import { NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { expectNeverOffline, scaledEnv, startNodes } from "../testing/liveness-fixture.ts";
import { createTestNetwork } from "../testing/test-registry.ts";

test("calls that hold every connection they can get keep no node from being heard", async () => {
  await using network = await createTestNetwork();
  await using stack = new AsyncDisposableStack();
  const pool = { DATABASE_POOL_SIZE: "10", DATABASE_POOL_MAX_OVERFLOW: "0" };
  const registry = stack.use(await network.registry({ ...scaledEnv, ...pool }));
  const nodes = await startNodes(stack, registry, 2);
  const { nodeId } = await registry.enroll();
  const owner = await network.db.pool("node_registry", { url: network.db.url("superuser") });
  const [locked, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const locking = owner.transaction(async (tx) => {
    await tx.query(sql.unsafe`set local idle_in_transaction_session_timeout = 0`);
    await tx.query(sql.unsafe`
      select from node_registry.node_leases
      where node_row_id = (select id from node_registry.storage_nodes where node_id = decode(${nodeId}, 'hex'))
      for update`);
    locked.resolve();
    await ended.promise;
  });
  await locked.promise;
  const state = { isOver: false, refused: 0 };
  const callers = Array.from({ length: 60 }, async () => {
    while (!state.isOver) {
      await registry.directory.setNodeState({ nodeId, state: NodeState.DRAINING, reason: "test" }).catch(() => {
        state.refused += 1;
      });
    }
  });
  // Those that wait for a connection are refused after five seconds: until then none was free.
  await vi.waitFor(() => expect(state.refused).toBeGreaterThan(40), 60_000);
  const before = nodes.map((node) => node.answers());
  await vi.waitFor(() => {
    for (const [index, node] of nodes.entries()) expect(node.answers()).toBeGreaterThan((before[index] ?? 0) + 12);
  }, 60_000);
  await expectNeverOffline(network, nodes);
  state.isOver = true;
  ended.resolve();
  await Promise.all([locking, ...callers]);
}, 180_000);
