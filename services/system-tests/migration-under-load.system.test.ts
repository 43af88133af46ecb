import { randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { NodeLiveness } from "#gen/decentrastore/node_registry/v1/node_pb.ts";
import { migrate } from "#platform/migrations/migrate.ts";
import { longestLockWait } from "#platform/testing/lock-waits.ts";
import { type ControlPlane, startControlPlane } from "./fixtures/control-plane.ts";
import { gatewayClients, newChunks, registerUser, type TestUser } from "./fixtures/network.ts";
import { joinNode, type TestNode } from "./fixtures/test-node.ts";
import { until } from "./fixtures/until.ts";

// Columns and indexes come and go on the busiest tables while nodes beat and report: no call fails, nobody waits long.

const tables = ["storage_nodes", "chunk_storage", "uploads"];
const migrations = {
  "9001_expand": tables.map((table) => `alter table node_registry.${table} add column note text not null default '';`),
  "9002_index_nodes": [
    "-- no-transaction",
    "drop index concurrently if exists node_registry.storage_nodes__note;",
    "create index concurrently storage_nodes__note on node_registry.storage_nodes (note);",
    "drop index concurrently if exists node_registry.uploads__note;",
    "create index concurrently uploads__note on node_registry.uploads (note);",
  ],
  "9003_contract": tables.map((table) => `alter table node_registry.${table} drop column note;`),
};

const LONGEST_WAIT_MS = 5_000;

let controlPlane: ControlPlane;
beforeAll(async () => {
  // Nodes beat as fast as the test wants.
  controlPlane = await startControlPlane({ env: { NODE_HEARTBEAT_MIN_INTERVAL: "0" } });
}, 120_000);
afterAll(() => controlPlane[Symbol.asyncDispose](), 120_000);

it("adds a column and an index under heartbeats and chunk reports", { timeout: 120_000 }, async () => {
  const network = await controlPlane.devFile();
  const user = await registerUser(network);
  const nodes = await Promise.all([joinNode(network), joinNode(network), joinNode(network)]);
  const { chunks, nodes: directory } = await gatewayClients(network);
  await Promise.all(nodes.map((node) => node.beat()));
  await until("all nodes are online", 60_000, async () => {
    const seen = await Promise.all(nodes.map(({ nodeId }) => directory.getNode({ nodeId })));
    return seen.every(({ node }) => node?.liveness === NodeLiveness.ONLINE);
  });
  const over = new AbortController();
  const count = { beats: 0, reports: 0 };
  const load = [
    ...nodes.map(async (node) => {
      for (; !over.signal.aborted; count.beats += 1) {
        await node.beat();
        await delay(20);
      }
    }),
    uploadUntil(over.signal, { chunks, user, nodes, onReport: () => (count.reports += 1) }),
  ];
  const failed = Promise.all(load);
  // Waiting for work to begin, and afterwards for it to go on, ends with the first call that fails.
  const more = async (reports: number) => {
    const wanted = { beats: count.beats + 10, reports: count.reports + reports };
    while (count.beats < wanted.beats || count.reports < wanted.reports) await Promise.race([failed, delay(20)]);
  };
  await more(3);
  const watching = longestLockWait(network.databaseUrl, "node_registry_app", over.signal);
  const folder = join(controlPlane.home, "migrations");
  mkdirSync(join(folder, "node_registry"), { recursive: true });
  for (const [name, statements] of Object.entries(migrations)) {
    const text = ["set lock_timeout = '200ms';", ...statements].join("\n");
    const sql = statements[0]?.startsWith("--") ? statements.join("\n") : text.replace("set lock", "set local lock");
    writeFileSync(join(folder, "node_registry", `${name}.sql`), `${sql}\n`);
    const applied = await Promise.race([
      migrate({ url: network.databaseUrl, schemas: ["node_registry"], folder }),
      failed.then(() => []),
    ]);
    expect(applied).toHaveLength(1);
    await more(3);
  }
  over.abort();
  await failed;
  // By the server's own account, because a busy machine makes everything slow. A statement that asks for an exclusive
  // lock lets all later ones wait behind it, for as long as its lock_timeout at most; the rest is for whoever holds one.
  expect(await watching).toBeLessThan(LONGEST_WAIT_MS);
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
});

interface Uploading {
  readonly chunks: Awaited<ReturnType<typeof gatewayClients>>["chunks"];
  readonly user: TestUser;
  readonly nodes: readonly TestNode[];
  readonly onReport: () => void;
}

async function uploadUntil(signal: AbortSignal, { chunks, user, nodes, onReport }: Uploading): Promise<void> {
  while (!signal.aborted) {
    const placed = newChunks(4);
    const chunkHashes = placed.map(({ chunkHash }) => chunkHash);
    await chunks.placeChunks({ userId: user.userId, uploadId: randomUUID(), chunks: placed, replicas: 3 });
    for (const node of nodes) {
      await node.client.reportStoredChunks({ chunkHashes });
      onReport();
    }
  }
}
