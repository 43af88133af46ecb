import { createHash } from "node:crypto";
import { totalmem } from "node:os";
import { createClient, createRouterTransport, type Interceptor } from "@connectrpc/connect";
import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { callerKey } from "#platform/rpc/caller.ts";
import { median } from "#platform/testing/median.ts";
import { createChunkRooms } from "../node-registry/chunk-rooms.ts";
import { createChunkBench, operatorSettings, seedNodes, seedUploads, timed } from "./chunk-bench-kit.ts";
import { measured } from "./measured.ts";

// Confirmation and location of 1,000 chunks with 200,000 and with 20 million replicas in the tables, on a warm server that
// holds them in its buffers: 40 % of the memory, the most that PostgreSQL's documentation advises. The goal is at most
// 1.5 times as long. BENCH_ROWS sets the larger number; seeding 20 million takes minutes and 16 GB below TMPDIR.
//
// Warm means the connections too: each is a process that maps the buffers for itself, and the kernel takes some 3 µs when
// it looks at a part of 16 to 64 KB for the first time. A thousand random chunks lie in thousands of such parts, and the
// pool's ten connections take turns: what fifteen calls measure on new connections is this mapping, which one in use has
// behind it. Location is printed for both. Where the system has huge pages for the buffers (sysctl vm.nr_hugepages)
// PostgreSQL takes them, and a part is 2 MB; whether it did is printed.

const SMALL = 200_000;
const LARGE = Number(process.env.BENCH_ROWS ?? 20_000_000);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 15);
const STEP = 100_000;
const POOL_SIZE = 10;

await using bench = await createChunkBench({
  ...operatorSettings,
  shared_buffers: `${Math.round((totalmem() / 2 ** 20) * 0.4)}MB`,
});
await seedNodes(bench.bare, 300);
await bench.loadNodes();
const rooms = createChunkRooms(bench.deps);
const nodes = bench.deps.view.candidates();
const [node] = nodes;
if (node === undefined) throw new Error("no node");
const identify: Interceptor = (next) => (request) => {
  request.contextValues.set(callerKey, { kind: "node", nodeId: node.nodeId });
  return next(request);
};
const router = { interceptors: [identify] };
const reporter = createClient(
  NodeService,
  createRouterTransport((r) => r.service(NodeService, rooms.nodeRpcs), { router }),
);
const reader = createClient(
  ChunkService,
  createRouterTransport((r) => r.service(ChunkService, rooms.rpcs)),
);

const { rows: pages } = await bench.bare.query("show huge_pages_status");
process.stdout.write(`huge pages: ${pages[0]?.huge_pages_status}\n`);

let seeded = 0;
await grow(SMALL);
const small = await measure("small");
await grow(LARGE);
const large = await measure("large");
for (const what of ["confirm", "locate"] as const) {
  process.stdout.write(
    `${what} 1,000: ${small[what].toFixed(1)} ms at ${SMALL} replicas, ${large[what].toFixed(1)} ms at ${LARGE}: ` +
      `${(large[what] / small[what]).toFixed(2)} times (goal: at most 1.5)\n`,
  );
}

const reduced = LARGE < 20_000_000 ? `${LARGE} rows` : undefined;
measured("chunkScaleConfirm", large.confirm / small.confirm, reduced);
measured("chunkScaleLocate", large.locate / small.locate, reduced);

/**
 * Stored chunks with three replicas each, up to this number of replicas. Indexes are made behind the rows: hashes come in
 * no order, and each would cost a page of every index.
 */
async function grow(rows: number): Promise<void> {
  await bench.bare.query("set session_replication_role = replica");
  await bench.bare.query("set maintenance_work_mem = '1GB'");
  const indexes = await dropIndexes();
  for (; seeded * 3 < rows; seeded += STEP) {
    const range = [seeded + 1, Math.min(seeded + STEP, Math.ceil(rows / 3))];
    const hash = "sha256(('stored ' || c)::bytea)";
    await bench.bare.query(
      `insert into node_registry.chunks (chunk_hash, owner_id, size_bytes, wanted_replicas, confirmed_replicas,
         live_replicas, paying_upload_id, created_at, quorum_at, event_version)
       select ${hash}, md5('owner')::uuid, 1024, 3, 3, 3, md5('old')::uuid, now(), now(), 3
       from generate_series($1::int, $2::int) c`,
      range,
    );
    await bench.bare.query(
      `insert into node_registry.chunk_storage (chunk_hash, node_id, block_index, assigned_at, stored_at)
       select ${hash}, 1 + (c * 3 + r) % 300, 0, now(), now()
       from generate_series($1::int, $2::int) c cross join generate_series(0, 2) r`,
      range,
    );
  }
  for (const definition of indexes) await bench.bare.query(definition);
  await bench.bare.query("set session_replication_role = origin");
  await bench.bare.query("vacuum analyze node_registry.chunks, node_registry.chunk_storage");
}

/** Drops the indexes of both tables, with their constraints; answers the statements that make them again. */
async function dropIndexes(): Promise<string[]> {
  const { rows } = await bench.bare.query(
    `select i.indexrelid::regclass::text as name, i.indrelid::regclass::text as table, c.conname as constraint,
       coalesce(pg_get_constraintdef(c.oid), pg_get_indexdef(i.indexrelid)) as definition
     from pg_index i left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u')
     where i.indrelid in ('node_registry.chunks'::regclass, 'node_registry.chunk_storage'::regclass)`,
  );
  for (const { name, table, constraint } of rows) {
    const drop = constraint === null ? `drop index ${name}` : `alter table ${table} drop constraint ${constraint}`;
    await bench.bare.query(drop);
  }
  return rows.map(({ table, constraint, definition }) =>
    constraint === null
      ? definition.replace(" ON ONLY ", " ON ")
      : `alter table ${table} add constraint ${constraint} ${definition}`,
  );
}

async function measure(label: string): Promise<{ confirm: number; locate: number }> {
  await seedUploads(
    bench.bare,
    label,
    ROUNDS + 2,
    nodes.slice(0, 3).map((candidate) => candidate.rowId),
  );
  await fillBuffers();
  const cold: number[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) cold.push(await locateThousand());
  process.stdout.write(`  ${label}: locate on new connections: ${median(cold).toFixed(1)} ms\n`);
  await touchByEachConnection();
  await bench.bare.query("checkpoint");
  await bench.bare.query("select pg_stat_statements_reset()");
  const confirm: number[] = [];
  const locate: number[] = [];
  for (let round = 1; round <= ROUNDS + 2; round += 1) {
    const fresh = Array.from({ length: 1_000 }, (_, index) => sha256(`${label} ${round} ${index + 1}`));
    confirm.push(await timed(() => reporter.reportStoredChunks({ chunkHashes: fresh })));
    locate.push(await locateThousand());
  }
  await printBlocks(label);
  return { confirm: median(confirm.slice(2)), locate: median(locate.slice(2)) };
}

async function locateThousand(): Promise<number> {
  const one = () => sha256(`stored ${1 + Math.floor(Math.random() * Math.min(seeded, LARGE / 3))}`);
  const chunkHashes = Array.from({ length: 1_000 }, one);
  return timed(() => reader.locateChunks({ chunkHashes }));
}

/**
 * Reads what both calls look into once, as a server in use has it: the tables have just been written past the buffers.
 * The indexes come last, so that they stay where not everything fits.
 */
async function fillBuffers(): Promise<void> {
  await bench.bare.query("create extension if not exists pg_prewarm");
  await bench.bare.query(
    `select pg_prewarm(relation.oid)
     from (
       select oid, 1 as position from pg_class where relkind = 'r' and oid::regclass::text ~ $1
       union all
       select indexrelid, 2 from pg_index where indisunique and indrelid::regclass::text ~ $1
     ) as relation
     join pg_class c on c.oid = relation.oid and c.relkind in ('r', 'i')
     order by relation.position`,
    ["^node_registry\\.(chunk_storage_\\d+|chunks)$"],
  );
}

/** All connections of the pool at the same time, each in a transaction of its own, look at every page of rows and keys. */
async function touchByEachConnection(): Promise<void> {
  const everyone = Promise.withResolvers<void>();
  let ready = 0;
  const touch = (): Promise<void> =>
    bench.pool.transaction(async (tx) => {
      ready += 1;
      if (ready === POOL_SIZE) everyone.resolve();
      await everyone.promise;
      await tx.query(sql.unsafe`set local statement_timeout = 0`);
      await tx.query(sql.unsafe`set local max_parallel_workers_per_gather = 0`);
      await tx.query(sql.unsafe`select count(block_index) from node_registry.chunk_storage`);
      await tx.query(sql.unsafe`select count(owner_id) from node_registry.chunks`);
      await tx.query(sql.unsafe`set local enable_seqscan = off`);
      for (const table of ["chunk_storage", "chunks"] as const) {
        await tx.query(sql.unsafe`
          select count(*) from (
            select chunk_hash from ${sql.identifier(["node_registry", table])} order by chunk_hash offset 0
          ) as keys`);
      }
    });
  await Promise.all(Array.from({ length: POOL_SIZE }, touch));
}

/** How many blocks the statements of both calls look at: the same few for each hash, however many there are. */
async function printBlocks(label: string): Promise<void> {
  const { rows } = await bench.bare.query(
    `select calls, mean_exec_time, shared_blks_hit / calls as hit, shared_blks_read / calls as read,
       left(regexp_replace(query, '\\s+', ' ', 'g'), 60) as query
     from pg_stat_statements where calls >= $1 and query ~* 'chunk|outbox|commit' order by total_exec_time desc limit 8`,
    [ROUNDS],
  );
  for (const { mean_exec_time, hit, read, query } of rows) {
    process.stdout.write(
      `  ${label}: ${Number(mean_exec_time).toFixed(1)} ms, ${hit} blocks hit, ${read} read: ${query}\n`,
    );
  }
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
