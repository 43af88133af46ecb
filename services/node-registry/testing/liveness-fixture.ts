import { setTimeout as delay } from "node:timers/promises";
import { expect, vi } from "vitest";
import { NodeLiveness } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import type { TestDatabase } from "#platform/testing/test-database.ts";
import type { registryClients } from "./registry-clients.ts";
import { type SimulatedNode, simulateNode } from "./simulated-node.ts";
import { eventsOf } from "./stored-events.ts";
import type { TestNetwork } from "./test-registry.ts";

/**
 * A lease of 4 s for 60 s: every span of liveness is in proportion to it. Ten beats fit in, because a busy machine stands
 * still for a second now and then, and a node is suspect after half of it.
 */
export const LEASE_MS = 4_000;
export const INTERVAL_MS = 400;
export const scaledEnv = { NODE_LEASE_TTL: `${LEASE_MS}ms`, NODE_HEARTBEAT_INTERVAL: `${INTERVAL_MS}ms` };

type Clients = Awaited<ReturnType<typeof registryClients>>;

/** Nodes that beat to these addresses, all of them online. */
export async function startNodes(
  stack: AsyncDisposableStack,
  registry: Clients,
  count: number,
  addresses: readonly string[] = [registry.edgeAddress],
): Promise<SimulatedNode[]> {
  const nodes = await Promise.all(Array.from({ length: count }, () => registry.enroll()));
  const simulated = nodes.map((node) => stack.use(simulateNode(node, addresses, INTERVAL_MS)));
  await expectAllOnline(registry, count);
  return simulated;
}

export async function livenesses(registry: Clients): Promise<Record<string, number>> {
  const { nodes } = await registry.directory.listNodes({ pageSize: 1_000 });
  const counts: Record<string, number> = {};
  for (const node of nodes) counts[node.liveness] = (counts[node.liveness] ?? 0) + 1;
  return counts;
}

export async function livenessOf(registry: Clients, nodeId: string): Promise<NodeLiveness | undefined> {
  return (await registry.directory.getNode({ nodeId })).node?.liveness;
}

/** Waits until the warm-up after the cold start is over: before that nobody is judged. */
export async function warm(db: TestDatabase): Promise<void> {
  const pool = await db.pool("node_registry");
  await vi.waitFor(async () => {
    const isWarm = await pool.exists(sql.unsafe`
      select from node_registry.sweep_state where warm_until < node_registry.lease_clock()`);
    expect(isWarm).toBe(true);
  }, 60_000);
}

/** Rule 5.4: whatever happens to us, no node that is alive is called offline. */
export async function expectNeverOffline(network: TestNetwork, nodes: readonly SimulatedNode[]): Promise<void> {
  for (const node of nodes) {
    const words = (await eventsOf(network.db, node.nodeId)).map((event) => event.word);
    expect(words).not.toContain("offline");
  }
}

export async function expectAnswersAgain(nodes: readonly SimulatedNode[]): Promise<void> {
  const before = nodes.map((node) => node.answers());
  await vi.waitFor(() => {
    for (const [index, node] of nodes.entries()) expect(node.answers()).toBeGreaterThan((before[index] ?? 0) + 3);
  }, 60_000);
}

/** Suspect is what a node becomes now and then on a busy machine; it does not stay so. */
export async function expectAllOnline(registry: Clients, count: number): Promise<void> {
  await vi.waitFor(async () => expect(await livenesses(registry)).toEqual({ [NodeLiveness.ONLINE]: count }), 60_000);
}

/** Real processes have real clocks: nothing but waiting makes a lease pass for them. */
export async function leasesPass(count: number, leaseMs = LEASE_MS): Promise<void> {
  await delay(count * leaseMs);
}
