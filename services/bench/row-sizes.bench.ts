import type pg from "pg";
import { printTable } from "../../db/table.ts";
import { createChunkBench, seedNodes, seedUploads } from "./chunk-bench-kit.ts";
import { benchEvents, createBenchKit } from "./event-bench-kit.ts";
import { isShort } from "./measured.ts";
import { seedReplicas } from "./proof-bench-kit.ts";

// What a row of each large table takes on disk with its indexes, as SCALING.md counts with it. Tables are filled with rows
// of the usual sizes and vacuumed; a table that is written to all day takes up to half as much again.

const REPLICAS = isShort ? 150_000 : 600_000;
const UPLOADS = isShort ? 20 : 100;
const EVENTS = isShort ? 10_000 : 40_000;

await using registry = await createChunkBench();
await seedNodes(registry.bare, 10_000);
await seedReplicas(registry.bare, { replicas: REPLICAS, nodes: 10_000, overdueNodes: 0 });
const rows = [
  await sizeOf(registry.bare, "node_registry.chunks"),
  await sizeOf(registry.bare, "node_registry.chunk_storage"),
  await sizeOf(registry.bare, "node_registry.storage_nodes"),
  await sizeOf(registry.bare, "node_registry.node_leases"),
];
await seedUploads(registry.bare, "sizes", UPLOADS, ["1", "2", "3"]);
rows.push(await sizeOf(registry.bare, "node_registry.upload_chunks"));
const events = benchEvents(EVENTS, "decentrastore.chunk.stored", "decentrastore.events.v1.ChunkStored");
for (let from = 0; from < EVENTS; from += 1_000) {
  const some = events.slice(from, from + 1_000);
  await registry.pool.transaction((tx) => registry.deps.outbox.append(tx, some));
}
rows.push(await sizeOf(registry.bare, "node_registry.outbox"));

await using quota = await createBenchKit();
await quota.pool("user_quota");
const client = await quota.bare();
await client.query(`
  insert into user_quota.accounts (user_id, storage_used_bytes, last_entry_id, quota_set_at, created_at)
  select md5(number::text)::uuid, 100, 100, now(), now() from generate_series(1, 2000) as number`);
await client.query(`
  insert into user_quota.ledger_entries (
    user_id, entry_id, kind, delta_bytes, used_before_bytes, used_after_bytes, storage_quota_bytes, is_anomaly,
    chunk_hash, generation, event_id, source_position, upload_id, actor_id, created_at
  )
  select user_id, number, 'charge', 1, number - 1, number, 10737418240, false, sha256((user_id::text || number)::bytea), 1,
    gen_random_uuid(), number, user_id, 'node-registry', now()
  from user_quota.accounts, generate_series(1, 100) as number`);
await client.query(`
  insert into user_quota.charges (user_id, chunk_hash, generation, state, size_bytes)
  select user_id, chunk_hash, generation, 'charged', 262144 from user_quota.ledger_entries order by chunk_hash`);
await client.query(
  "insert into user_quota.inbox (consumer, event_id, event_time) select 'user-quota-chunks', gen_random_uuid(), now() from generate_series(1, 200000)",
);
rows.push(
  await sizeOf(client, "user_quota.accounts"),
  await sizeOf(client, "user_quota.ledger_entries"),
  await sizeOf(client, "user_quota.charges"),
  await sizeOf(client, "user_quota.inbox"),
);
printTable(rows);

/** Bytes of a table with its partitions and indexes, by its rows. */
async function sizeOf(client: pg.Client, table: string) {
  await client.query(`vacuum analyze ${table}`);
  const { rows: found } = await client.query<{ rows: string; heap: string; total: string }>(
    `select (select count(*) from ${table}) as rows,
       sum(pg_table_size(relid))::bigint as heap, sum(pg_total_relation_size(relid))::bigint as total
     from (select relid from pg_partition_tree($1) union select $1::regclass) as tables`,
    [table],
  );
  const { rows: count, heap, total } = found[0] ?? { rows: "1", heap: "0", total: "0" };
  const perRow = (bytes: string) => Math.round(Number(bytes) / Number(count));
  return { table, rows: Number(count), "bytes per row": perRow(heap), "with indexes": perRow(total) };
}
