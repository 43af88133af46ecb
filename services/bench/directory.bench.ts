import pg from "pg";
import { median } from "#platform/testing/median.ts";
import { measured } from "./measured.ts";
import { createRegistryKit, residentBytesOf } from "./registry-kit.ts";

// The directory with 100,000 nodes: GetNode (goal: under 2 ms), ListNodes of 1,000 (under 12 ms), both against the bare
// SQL of the same rows, GetNetworkStats, a watcher's snapshot, and what the view costs in time and memory.
// BENCH_NODE_OPTIONS=--cpu-prof goes to the registry.

const count = Number(process.env.BENCH_NODES ?? 100_000);

await using kit = await createRegistryKit();
const database = new pg.Client({ connectionString: kit.superuserUrl });
await database.connect();
await database.query(`
  with nodes as (
    insert into node_registry.storage_nodes (node_id, address_host, address_port, region, software_version, capacity_gb,
      is_active, created_at)
    select sha256(n::text::bytea), 'node-' || n || '.example.org', 4000, 'region-' || n % 20, 'bench/1', 1000, true, now()
    from generate_series(1, ${count}) n
    returning id
  )
  insert into node_registry.node_leases (node_row_id, liveness, last_beat, used_bytes, free_bytes, chunk_count, peer_network)
  select id, 'online', now() + interval '1 hour', 1000000, 2000000, 100, '10.0.0.0/24' from nodes`);
await database.query("vacuum analyze node_registry.storage_nodes");
await database.query("vacuum analyze node_registry.node_leases");
const { rows: samples } = await database.query<{ node_id: string }>(
  "select encode(node_id, 'hex') as node_id from node_registry.storage_nodes order by random() limit 1000",
);

const startedAt = performance.now();
const registry = await kit.registry({ NODE_OPTIONS: process.env.BENCH_NODE_OPTIONS ?? "" });
console.log(
  `start with ${count} nodes: ${((performance.now() - startedAt) / 1_000).toFixed(1)} s, ` +
    `${Math.round(residentBytesOf(registry.pid) / 1e6)} MB`,
);

const one = `select n.*, l.* from node_registry.storage_nodes n join node_registry.node_leases l on l.node_row_id = n.id`;
const ROUNDS = 5;
const getNodeMs = await compare(
  "GetNode",
  2_000,
  (index) => registry.directory.getNode({ nodeId: nodeAt(index) }),
  (index) => database.query(`${one} where n.node_id = decode($1, 'hex')`, [nodeAt(index)]),
);
const listNodesMs = await compare(
  "ListNodes of 1,000",
  200,
  () => registry.directory.listNodes({ pageSize: 1_000 }),
  () => database.query(`${one} where n.state <> 'deregistered' order by n.node_id limit 1000`),
);
await compare(
  "ListNodes of 1,000 in a region",
  100,
  () => registry.directory.listNodes({ pageSize: 1_000, region: "region-7" }),
  () => database.query(`${one} where n.region = 'region-7' order by n.node_id limit 1000`),
);
await compare(
  "GetNetworkStats",
  5,
  () => registry.directory.getNetworkStats({}),
  () => database.query("select state, sum(capacity_gb) from node_registry.storage_nodes group by state"),
);
const watchedAt = performance.now();
let told = 0;
for await (const { change } of registry.directory.watchNodes({ fromRevision: 0n })) {
  if (change.case === "snapshotEnd") break;
  told += 1;
}
console.log(`WatchNodes: snapshot of ${told} nodes in ${((performance.now() - watchedAt) / 1_000).toFixed(1)} s`);
await database.end();
const reduced = count < 100_000 ? `${count} nodes` : undefined;
measured("getNode", getNodeMs, reduced);
measured("listNodes", listNodesMs, reduced);

function nodeAt(index: number): string {
  return samples[index % samples.length]?.node_id ?? "";
}

async function compare(
  name: string,
  times: number,
  call: (index: number) => Promise<unknown>,
  query: (index: number) => Promise<unknown>,
): Promise<number[]> {
  const rpc: number[] = [];
  const sql: number[] = [];
  const medians: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const own = await timesOf(times / ROUNDS, call);
    medians.push(median(own));
    rpc.push(...own);
    sql.push(...(await timesOf(times / ROUNDS, query)));
  }
  const p99 = rpc.sort((a, b) => a - b)[Math.floor(rpc.length * 0.99)] ?? 0;
  console.log(
    `${name.padEnd(32)} ${median(rpc).toFixed(2)} ms (p99 ${p99.toFixed(1)}), bare SQL ${median(sql).toFixed(2)} ms`,
  );
  return medians;
}

async function timesOf(times: number, work: (index: number) => Promise<unknown>): Promise<number[]> {
  const spans: number[] = [];
  for (let index = 0; index < times; index += 1) {
    const from = performance.now();
    await work(index);
    spans.push(performance.now() - from);
  }
  return spans.slice(Math.floor(times / 10));
}
