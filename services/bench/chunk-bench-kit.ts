import { randomUUID } from "node:crypto";
import { totalmem } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { migrate } from "#platform/migrations/migrate.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import { openPool, type Pool } from "#platform/postgres/pool.ts";
import { createTempFolder } from "#platform/testing/temp-folder.ts";
import { createTestLogger } from "#platform/testing/test-database.ts";
import { systemClock } from "#platform/time/clock.ts";
import { startEmbeddedPostgres } from "../dev/embedded-postgres.ts";
import { loadNodeRegistryConfig } from "../node-registry/config.ts";
import type { Deps } from "../node-registry/deps.ts";
import { createNodeTable } from "../node-registry/directory/node-table.ts";
import { selectNodeRecordsAfter } from "../node-registry/directory/nodes.store.ts";
import { createQuotaStub } from "../node-registry/testing/quota-stub.ts";

/** A PostgreSQL that syncs to disk with the registry's schema, and what its rooms are built on. */
export interface ChunkBench extends AsyncDisposable {
  readonly pool: Pool;
  /** A bare connection of the driver, for the statements that everything is compared with. */
  readonly bare: pg.Client;
  readonly deps: Deps;
  /** Reads the nodes into the view. */
  loadNodes(): Promise<void>;
}

/** What an operator gives a server for itself that holds many chunks: the advice of PostgreSQL's own documentation. */
export const operatorSettings = {
  shared_buffers: `${Math.round(totalmem() / 2 ** 20 / 4)}MB`,
  max_wal_size: "16GB",
  checkpoint_timeout: "15min",
};

export async function createChunkBench(settings: Readonly<Record<string, string>> = {}): Promise<ChunkBench> {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(createTempFolder()).path;
  const server = stack.use(await startEmbeddedPostgres({ folder: join(folder, "postgres"), settings }));
  await migrate({ url: server.url, schemas: ["node_registry"], onProgress: () => {} });
  const log = createTestLogger("bench");
  const options = { url: server.url, schema: "node_registry", log, poolSize: 10, assumeRole: true } as const;
  const pool = await openPool({ ...options, logQueries: "off" });
  stack.defer(() => pool.end());
  const bare = new pg.Client({ connectionString: server.url });
  await bare.connect();
  stack.defer(() => bare.end());
  const view = createNodeTable();
  const config = loadNodeRegistryConfig({
    DATABASE_URL: server.url,
    NATS_URL: "nats://127.0.0.1:4222",
    SERVICE_CLIENT_ID: "node-registry",
    SERVICE_CLIENT_SECRET: "unused",
    KEY_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString("base64"),
  });
  const deps: Deps = {
    config,
    instanceId: randomUUID(),
    pool,
    outbox: createOutbox("node_registry"),
    clock: systemClock,
    random: Math.random,
    log,
    metrics: createMetrics("node-registry"),
    view,
    userQuota: createQuotaStub().client,
  };
  return {
    pool,
    bare,
    deps,
    loadNodes: async () => {
      for (let after = 0n; ; ) {
        const page = await selectNodeRecordsAfter(pool, after, 10_000);
        for (const record of page) view.put(record);
        const last = page.at(-1);
        if (last === undefined) return;
        after = last.rowId;
      }
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Online nodes in service, each in a subnet of its own, in fifty regions. */
export async function seedNodes(bare: pg.Client, count: number): Promise<void> {
  await bare.query(
    `insert into node_registry.storage_nodes
       (node_id, address_host, address_port, region, capacity_gb, is_on_probation)
     select sha256(('node ' || n)::bytea), '127.0.0.1', 9000, 'region-' || n % 50, 1000, false
     from generate_series(1, $1::int) n`,
    [count],
  );
  await bare.query(
    `insert into node_registry.node_leases (node_row_id, liveness, free_bytes, peer_network, last_beat)
     select id, 'online', 1000 * 1073741824::bigint, ('10.' || id / 256 % 256 || '.' || id % 256 || '.0/24')::cidr, now()
     from node_registry.storage_nodes on conflict do nothing`,
  );
  await bare.query("insert into node_registry.node_holdings (node_id) select id from node_registry.storage_nodes");
  await bare.query(
    "vacuum analyze node_registry.storage_nodes, node_registry.node_leases, node_registry.node_holdings",
  );
}

/**
 * Open uploads of chunks of 1 KiB, not confirmed. Each upload is assigned to three of the given nodes, which take turns.
 * The hash of chunk c of upload u under a label is SHA-256 of "label u c".
 */
export async function seedUploads(
  bare: pg.Client,
  label: string,
  uploads: number,
  nodeIds: readonly (bigint | string)[],
  chunks = 1_000,
): Promise<void> {
  const hash = "sha256(($1::text || ' ' || u || ' ' || c)::bytea)";
  const upload = "md5($1::text || ' ' || u)::uuid";
  await bare.query(
    `insert into node_registry.uploads (upload_id, user_id, state, fingerprint, replicas, chunk_count, reserved_bytes,
       remaining_chunks, created_at, placed_at, expires_at, due_at)
     select ${upload}, md5($1::text)::uuid, 'open', sha256('x'), 3, $3::int, $3::int * 1024, $3::int, now(), now(),
       now() + interval '1 day', now() + interval '1 day'
     from generate_series(1, $2::int) u`,
    [label, uploads, chunks],
  );
  const all = "generate_series(1, $2::int) u cross join generate_series(1, $3::int) c";
  await bare.query(
    `insert into node_registry.chunks (chunk_hash, owner_id, size_bytes, wanted_replicas, paying_upload_id, created_at)
     select ${hash}, md5($1::text)::uuid, 1024, 3, ${upload}, now() from ${all}`,
    [label, uploads, chunks],
  );
  await bare.query(
    `insert into node_registry.upload_chunks (upload_id, chunk_hash, block_index)
     select ${upload}, ${hash}, c from ${all}`,
    [label, uploads, chunks],
  );
  const node = "($4::bigint[])[((u - 1) * 3 + k) % cardinality($4::bigint[]) + 1]";
  await bare.query(
    `insert into node_registry.chunk_storage (chunk_hash, node_id, block_index, assigned_at)
     select ${hash}, ${node}, c, now() from ${all} cross join generate_series(0, 2) k`,
    [label, uploads, chunks, nodeIds],
  );
  await bare.query(
    `insert into node_registry.node_holdings as h (node_id, assigned_chunks, assigned_bytes)
     select ($3::bigint[])[((u - 1) * 3 + k) % cardinality($3::bigint[]) + 1], count(*) * $2::int, count(*) * $2::int * 1024
     from generate_series(1, $1::int) u cross join generate_series(0, 2) k
     group by 1
     on conflict (node_id) do update set assigned_chunks = h.assigned_chunks + excluded.assigned_chunks,
       assigned_bytes = h.assigned_bytes + excluded.assigned_bytes`,
    [uploads, chunks, nodeIds],
  );
  await bare.query(
    "vacuum analyze node_registry.uploads, node_registry.chunks, node_registry.upload_chunks, node_registry.chunk_storage, node_registry.node_holdings",
  );
}

/** Milliseconds of one run. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}
