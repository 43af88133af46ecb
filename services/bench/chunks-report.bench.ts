import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import pg from "pg";
import { NodeService, ReportStoredChunksRequestSchema } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { median } from "#platform/testing/median.ts";
import { seedUploads } from "./chunk-bench-kit.ts";
import { loadUnary, openSessions, pause } from "./grpc-load.ts";
import { isShort, measured } from "./measured.ts";
import { treeCpuMicros } from "./postgres-cpu.ts";
import { cpuMicrosOf, createRegistryKit } from "./registry-kit.ts";

// ReportStoredChunks with one hash a call, from a thousand nodes, each with its connection (mutual TLS) and one call under
// way, each call a new confirmation: persisted with its events before the answer, sharing transactions. Against a bare
// grpc-js echo of the same messages over as many connections. The goal is at least half of its speed. `--nodes=15
// --parallel=64` puts as many calls on few connections, where the echo gains from frames that share a write.

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? (isShort ? 1 : 5));
const NODES = numberOption("nodes", 960);
const PARALLEL = numberOption("parallel", 1);
// Three nodes take one upload, and none reports more in a run than it was assigned.
const UPLOADS = NODES / 3;
const CHUNKS = Math.ceil((isShort ? 60_000 : 240_000) / NODES);
const times = { warmMs: 1_000, runMs: 3_000 };

await using kit = await createRegistryKit();
// One heartbeat is enough for the whole run: nodes that are gone would have their chunks walked through meanwhile.
const registry = await kit.registry({
  NODE_HEARTBEAT_MIN_INTERVAL: "0",
  NODE_LEASE_TTL: "1h",
  NODE_OPTIONS: process.env.BENCH_NODE_OPTIONS ?? "",
});
const nodes = await Promise.all(Array.from({ length: NODES }, () => registry.enroll()));
for (const node of nodes) {
  using client = node.connect();
  const figures = { usedBytes: 0n, freeBytes: 2n ** 36n, chunkCount: 0n };
  await client.unary(NodeService.method.heartbeat, { sequence: 1n, ...figures });
}
const [first] = nodes;
if (first === undefined) throw new Error("no node");
const echo = await kit.echo(first);
const messages = await seed();

const contenders = [
  {
    name: "bare grpc-js echo",
    address: echo.address,
    pid: echo.pid,
    path: "/bench.Echo/Unary",
    sent: new Int32Array(NODES),
  },
  {
    name: "ReportStoredChunks of one",
    address: registry.edgeAddress,
    pid: registry.pid,
    path: "/decentrastore.node_registry.v1.NodeService/ReportStoredChunks",
    sent: new Int32Array(NODES),
  },
];
const rates = new Map<string, number[]>();
const costs = new Map<string, number[][]>();
for (let round = 0; round < ROUNDS; round += 1) {
  for (const { name, address, pid, path, sent } of contenders) {
    const sessions = await openSessions(
      nodes.map((node) => ({
        address,
        ca: node.ca,
        certificate: node.certificate,
        privateKey: node.identity.privateKey,
      })),
    );
    const meters = () => [
      cpuMicrosOf(pid),
      cpuMicrosOf(process.pid),
      treeCpuMicros(kit.postgresPid),
      cpuMicrosOf(kit.natsPid),
    ];
    const before = meters();
    const { answers, ms } = await loadUnary(sessions, { path, message: messagesOf(sent), parallel: PARALLEL }, times);
    const share = times.runMs / (times.runMs + times.warmMs);
    const used = meters().map((after, at) => ((after - (before[at] ?? 0)) * share) / answers);
    for (const session of sessions) session.destroy();
    rates.set(name, [...(rates.get(name) ?? []), (answers / ms) * 1_000]);
    costs.set(name, [...(costs.get(name) ?? []), used]);
    await pause(300);
  }
}
const [bare = 0, ours = 0] = contenders.map(({ name }) => median(rates.get(name) ?? []));
for (const { name } of contenders) {
  const [server, client, postgres, nats] = [0, 1, 2, 3].map((at) =>
    median((costs.get(name) ?? []).map((used) => used[at] ?? Number.NaN)).toFixed(0),
  );
  process.stdout.write(
    `${name}: ${Math.round(median(rates.get(name) ?? []))} a second; processor time of each: ${server} µs, client ` +
      `${client}, PostgreSQL ${postgres}, NATS ${nats}\n`,
  );
}
await printStatements();
process.stdout.write(`one confirmation a call: ${(ours / bare).toFixed(2)} of the bare echo (goal: at least 0.5)\n`);
if (
  contenders.some(
    ({ name, sent }) =>
      name !== "bare grpc-js echo" && [...sent].some((count, node) => count > (messages[node]?.length ?? 0)),
  )
) {
  process.stdout.write("some nodes ran out of chunks: the last calls confirmed nothing\n");
}

const [bareRates = [], ourRates = []] = contenders.map(({ name }) => rates.get(name) ?? []);
measured(
  "confirmOne",
  ourRates.map((rate, round) => rate / (bareRates[round] ?? Number.NaN)),
);

/** Where the database's time went, with BENCH_STATEMENTS set. */
async function printStatements(): Promise<void> {
  if (process.env.BENCH_STATEMENTS === undefined) return;
  const db = new pg.Client({ connectionString: kit.superuserUrl });
  await db.connect();
  const { rows } = await db.query(
    `select calls, round(total_exec_time) as exec_ms, round(total_plan_time) as plan_ms, rows,
       round(wal_bytes / 1024) as wal_kb, left(regexp_replace(query, '\\s+', ' ', 'g'), 110) as query
     from pg_stat_statements order by total_exec_time + total_plan_time desc limit 25`,
  );
  await db.end();
  for (const row of rows) process.stdout.write(`${Object.values(row).join("  ")}\n`);
}

/** The reports of each connection in turn; `sent` counts them, for each contender from the start. */
function messagesOf(sent: Int32Array) {
  return (connection: number): Uint8Array => {
    const own = messages[connection] ?? [];
    const at = sent[connection] ?? 0;
    sent[connection] = at + 1;
    return own[at % own.length] ?? new Uint8Array();
  };
}

/** Uploads whose chunks are assigned to three nodes each; answers the reports of each node. */
async function seed(): Promise<Uint8Array[][]> {
  const db = new pg.Client({ connectionString: kit.superuserUrl });
  await db.connect();
  const { rows } = await db.query("select id, encode(node_id, 'hex') as node_id from node_registry.storage_nodes");
  const rowIds = new Map<string, string>(rows.map(({ id, node_id }) => [node_id, id]));
  const label = "report";
  await seedUploads(
    db,
    label,
    UPLOADS,
    nodes.map(({ nodeId }) => rowIds.get(nodeId) ?? "0"),
    CHUNKS,
  );
  const reportsOf = (upload: number) =>
    Array.from({ length: CHUNKS }, (_, chunk) => {
      const chunkHashes = [
        createHash("sha256")
          .update(`${label} ${upload} ${chunk + 1}`)
          .digest("hex"),
      ];
      return toBinary(ReportStoredChunksRequestSchema, create(ReportStoredChunksRequestSchema, { chunkHashes }));
    });
  const reports = Array.from({ length: UPLOADS }, (_, index) => reportsOf(index + 1));
  if (process.env.BENCH_STATEMENTS !== undefined) {
    await db.query("create extension if not exists pg_stat_statements");
    await db.query("alter system set pg_stat_statements.track_planning = on");
    await db.query("select pg_reload_conf(), pg_stat_statements_reset()");
  }
  await db.end();
  return nodes.map((_, index) => reports[Math.floor(index / 3)] ?? []);
}

function numberOption(name: string, otherwise: number): number {
  const word = process.argv.find((argument) => argument.startsWith(`--${name}=`));
  return Number(word?.split("=")[1] ?? otherwise);
}
