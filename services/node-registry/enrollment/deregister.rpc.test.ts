import { expect, test, vi } from "vitest";
import { z } from "zod";
import { NodeState } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";
import { beat, createTestNetwork, heartbeat } from "../testing/test-registry.ts";

test("a crowd that leaves waits without connections, and others are served meanwhile", async () => {
  await using network = await createTestNetwork();
  await using registry = await network.registry();
  const joinToken = await registry.joinToken();
  const nodes = await Promise.all(Array.from({ length: 24 }, () => registry.enroll({ joinToken })));
  const staying = await registry.enroll({ joinToken });
  await using clients = new AsyncDisposableStack();
  const [bystander, ...crowd] = [staying, ...nodes].map((node) => clients.use(node.connect()));
  if (bystander === undefined) throw new Error("no bystander");
  for (const client of crowd) await client.unary(heartbeat, beat(1));
  const pool = await network.db.pool("node_registry");
  const leaving = await pool.transaction(async (tx) => {
    await tx.query(sql.unsafe`select 1 from node_registry.directory_head for update`);
    const left = Promise.all(crowd.map((client) => client.unary(NodeService.method.deregister, {})));
    await vi.waitFor(async () => expect(await countWaiting(tx)).toBeGreaterThanOrEqual(2), 20_000);
    // Sent after them, so they have arrived when it is answered.
    await bystander.unary(heartbeat, beat(1));
    await registry.directory.explainNode({ nodeId: staying.nodeId });
    expect(await countWaiting(tx)).toBeLessThan(12);
    return { left };
  });
  const answers = await leaving.left;
  expect(answers.map(({ node }) => node?.state)).toEqual(Array(24).fill(NodeState.DEREGISTERED));
});

/** Connections that wait for a lock: for the directory's head, or for nodes of one that waits for it. */
async function countWaiting(tx: Transaction): Promise<number> {
  const { waiting } = await tx.one(sql.type(z.strictObject({ waiting: z.int() }))`
    select count(*)::int as waiting from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`);
  return waiting;
}
