import { createHash, randomBytes, randomUUID } from "node:crypto";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import type pg from "pg";
import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { median } from "#platform/testing/median.ts";
import { createChunkRooms } from "../node-registry/chunk-rooms.ts";
import { createChunkBench, seedNodes, timed } from "./chunk-bench-kit.ts";
import { isShort, measured } from "./measured.ts";

// PlaceChunks of 1,000 chunks x 3 with 100,000 nodes, handler and both transactions, against the bare inserts of the same
// rows with the driver, in turn. The goal is at most 2 times as long. user-quota is a stand-in that answers at once.

const NODES = Number(process.env.BENCH_NODES ?? (isShort ? 20_000 : 100_000));
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? (isShort ? 5 : 15));
const CHUNKS = 1_000;

await using bench = await createChunkBench();
await seedNodes(bench.bare, NODES);
await bench.loadNodes();
const rooms = createChunkRooms(bench.deps);
const client = createClient(
  ChunkService,
  createRouterTransport((router) => router.service(ChunkService, rooms.rpcs)),
);

const placed: number[] = [];
const bare: number[] = [];
for (let round = 0; round < ROUNDS + 2; round += 1) {
  const ours = await timed(() =>
    client.placeChunks({
      userId: randomUUID(),
      uploadId: randomUUID(),
      replicas: 3,
      chunks: Array.from({ length: CHUNKS }, (_, blockIndex) => ({
        chunkHash: randomBytes(32).toString("hex"),
        sizeBytes: 262_144n,
        blockIndex,
      })),
    }),
  );
  const rows = newRows();
  const theirs = await timed(() => insertBare(bench.bare, rows));
  if (round < 2) continue;
  placed.push(ours);
  bare.push(theirs);
}
const ratio = median(placed) / median(bare);
process.stdout.write(
  `${NODES} nodes: PlaceChunks of ${CHUNKS} x 3 ${median(placed).toFixed(1)} ms, the bare inserts ${median(bare).toFixed(1)} ms: ` +
    `${ratio.toFixed(2)} times (goal: at most 2)\n`,
);

measured(
  "placeThousand",
  placed.map((ms, round) => ms / (bare[round] ?? Number.NaN)),
  NODES < 100_000 ? `${NODES} nodes` : undefined,
);

/**
 * Rows as a placement writes them, made beforehand: three nodes from anywhere, since neighbours would share the pages of
 * two indexes.
 */
function newRows() {
  const uploadId = randomUUID();
  const hashes = Array.from({ length: CHUNKS }, () => randomBytes(32));
  const nodes = hashes.flatMap(() => {
    const drawn = new Set<number>();
    while (drawn.size < 3) drawn.add(1 + Math.floor(Math.random() * NODES));
    return [...drawn];
  });
  return { uploadId, hashes, nodes, fingerprint: createHash("sha256").update(uploadId).digest() };
}

async function insertBare(db: pg.Client, { uploadId, hashes, nodes, fingerprint }: ReturnType<typeof newRows>) {
  const userId = randomUUID();
  await db.query("begin");
  await db.query(
    `insert into node_registry.uploads (upload_id, user_id, state, fingerprint, replicas, chunk_count, reserved_bytes,
       remaining_chunks, created_at, placed_at, expires_at, due_at)
     values ($1, $2, 'open', $3, 3, $4, 1, $4, now(), now(), now() + interval '1 day', now() + interval '1 day')`,
    [uploadId, userId, fingerprint, CHUNKS],
  );
  await db.query(
    `insert into node_registry.chunks (chunk_hash, owner_id, size_bytes, wanted_replicas, paying_upload_id, created_at)
     select h, $2, 262144, 3, $3, now() from unnest($1::bytea[]) h`,
    [hashes, userId, uploadId],
  );
  await db.query(
    `insert into node_registry.chunk_storage (chunk_hash, node_id, block_index, assigned_at)
     select h, n, 1, now() from unnest($1::bytea[], $2::bigint[]) as r (h, n)`,
    [hashes.flatMap((hash) => [hash, hash, hash]), nodes],
  );
  await db.query(
    `insert into node_registry.upload_chunks (upload_id, chunk_hash, block_index)
     select $1, h, 1 from unnest($2::bytea[]) h`,
    [uploadId, hashes],
  );
  await db.query(
    `update node_registry.node_holdings h
     set assigned_chunks = assigned_chunks + 1, assigned_bytes = assigned_bytes + 262144
     from (select distinct n from unnest($1::bigint[]) n) as r where h.node_id = r.n`,
    [nodes],
  );
  await db.query("commit");
}
