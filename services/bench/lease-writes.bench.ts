import { median } from "#platform/testing/median.ts";
import { writeLeases } from "../node-registry/liveness/leases.store.ts";
import { createChunkBench, seedNodes, timed } from "./chunk-bench-kit.ts";
import { postgresCpuMicros } from "./postgres-cpu.ts";

// What the heartbeat of one of very many nodes costs to write: leases of 100,000 nodes renewed in batches as a flush does,
// in random order of nodes. No two heartbeats of a batch are of one node, so nothing folds. SCALING.md counts with it.

const NODES = 100_000;
const BATCH = 1_000;
const BATCHES = 300;

await using bench = await createChunkBench();
await seedNodes(bench.bare, NODES);
const { rows } = await bench.bare.query<{ id: string }>("select id from node_registry.storage_nodes order by random()");
const ids = rows.map(({ id }) => BigInt(id));

const spans: number[] = [];
let [ownMicros, serverMicros, walBytes] = [0, 0, 0];
for (let batch = 0; batch < BATCHES; batch += 1) {
  // The first batches warm up code and caches.
  if (batch === 20) [ownMicros, serverMicros, walBytes] = await used();
  const first = (batch * BATCH) % NODES;
  const some = ids.slice(first, first + BATCH).sort((a, b) => (a < b ? -1 : 1));
  const writes = some.map((rowId) => ({
    ...{ rowId, epoch: null, ageMs: 100, isRestarted: false, sequence: BigInt(batch), usedBytes: 1_000_000n },
    ...{ freeBytes: 2_000_000n, chunkCount: 4n, isFreeClamped: false, chunkDigest: null, peerNetwork: "10.1.2.0/24" },
  }));
  spans.push(await timed(() => writeLeases(bench.pool, bench.deps.instanceId, 15_000, writes)));
}
const [own, server, wal] = await used();
const count = (BATCHES - 20) * BATCH;
const each = (to: number, from: number) => ((to - from) / count).toFixed(1);
console.log(`${BATCH} leases in ${median(spans.slice(20)).toFixed(1)} ms, one connection`);
console.log(
  `each: Node ${each(own, ownMicros)} µs, PostgreSQL ${each(server, serverMicros)} µs of processor, ${each(wal, walBytes)} bytes of WAL`,
);

async function used(): Promise<[number, number, number]> {
  const { user, system } = process.cpuUsage();
  const { rows: found } = await bench.bare.query<{ bytes: string }>("select wal_bytes as bytes from pg_stat_wal");
  return [user + system, await postgresCpuMicros(bench.pool), Number(found[0]?.bytes ?? 0)];
}
