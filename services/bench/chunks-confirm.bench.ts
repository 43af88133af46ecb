import { createHash } from "node:crypto";
import { type Client, createClient, createRouterTransport, type Interceptor } from "@connectrpc/connect";
import type pg from "pg";
import { NodeService, StoredChunkResult } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { callerKey } from "#platform/rpc/caller.ts";
import { median } from "#platform/testing/median.ts";
import { createChunkRooms } from "../node-registry/chunk-rooms.ts";
import { createChunkBench, seedNodes, seedUploads, timed } from "./chunk-bench-kit.ts";
import { isShort, measured } from "./measured.ts";

// ReportStoredChunks with 1,000 hashes a call (first, second and third replica of each chunk in turn: no quorum, quorum
// with upload and usage, complete), against the bare writes of the same rows with the driver: no reading, no deciding.
// The goal is at least half of its speed.

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? (isShort ? 6 : 12));

await using bench = await createChunkBench();
await seedNodes(bench.bare, 3);
await bench.loadNodes();
const nodes = bench.deps.view.candidates();
const rowIds = nodes.map((node) => node.rowId);
await seedUploads(bench.bare, "ours", ROUNDS, rowIds);
await seedUploads(bench.bare, "bare", ROUNDS, rowIds);
const rooms = createChunkRooms(bench.deps);
const clients = nodes.map((node) => nodeClient(node.nodeId));

const ours: number[] = [];
const bare: number[] = [];
for (let round = 1; round <= ROUNDS; round += 1) {
  for (const [index, client] of clients.entries()) {
    const chunkHashes = hashesOf("ours", round);
    const ms = await timed(() => report(client, chunkHashes));
    const rows = { hashes: hashesOf("bare", round), rowId: rowIds[index] ?? 0n, replica: index + 1, round };
    const bareMs = await timed(() => writeBare(bench.bare, rows));
    if (round <= 2) continue;
    ours.push(ms);
    bare.push(bareMs);
  }
}
for (const [index, name] of ["first replica", "second (quorum)", "third", "all"].entries()) {
  const of = (values: readonly number[]) => median(values.filter((_, at) => index === 3 || at % 3 === index));
  process.stdout.write(
    `1,000 confirmations a call, ${name}: ${of(ours).toFixed(1)} ms, bare ${of(bare).toFixed(1)} ms: ` +
      `${(of(bare) / of(ours)).toFixed(2)} of its speed (goal: at least 0.5)\n`,
  );
}
// A round is the three replicas of an upload: the second one reaches the quorum and costs more.
const thirds = Array.from({ length: ours.length / 3 }, (_, round) => 3 * round);
const sum = (values: readonly number[], from: number) => values.slice(from, from + 3).reduce((a, b) => a + b, 0);
measured(
  "confirmThousand",
  thirds.map((from) => sum(bare, from) / sum(ours, from)),
);

function hashesOf(label: string, upload: number): string[] {
  return Array.from({ length: 1_000 }, (_, index) =>
    createHash("sha256")
      .update(`${label} ${upload} ${index + 1}`)
      .digest("hex"),
  );
}

function nodeClient(nodeId: string): Client<typeof NodeService> {
  const identify: Interceptor = (next) => (request) => {
    request.contextValues.set(callerKey, { kind: "node", nodeId });
    return next(request);
  };
  const transport = createRouterTransport((router) => router.service(NodeService, rooms.nodeRpcs), {
    router: { interceptors: [identify] },
  });
  return createClient(NodeService, transport);
}

async function report(client: Client<typeof NodeService>, chunkHashes: string[]): Promise<void> {
  const { results } = await client.reportStoredChunks({ chunkHashes });
  if (results.some((result) => result !== StoredChunkResult.CONFIRMED)) throw new Error("not confirmed");
}

interface BareRows {
  readonly hashes: readonly string[];
  readonly rowId: bigint;
  readonly replica: number;
  readonly round: number;
}

async function writeBare(db: pg.Client, { hashes, rowId, replica, round }: BareRows): Promise<void> {
  const bytes = hashes.map((hash) => Buffer.from(hash, "hex"));
  const payload = Buffer.alloc(220, 1);
  await db.query("begin");
  await db.query(
    `update node_registry.chunk_storage s set stored_at = now() from unnest($1::bytea[]) h
     where s.chunk_hash = h and s.node_id = $2`,
    [bytes, rowId],
  );
  await db.query(
    `update node_registry.chunks c set confirmed_replicas = $2::int, live_replicas = $2::int, event_version = $2::int,
       quorum_at = case when $2::int >= 2 then now() end
     from unnest($1::bytea[]) h where c.chunk_hash = h`,
    [bytes, replica],
  );
  await db.query(
    `update node_registry.node_holdings set assigned_chunks = assigned_chunks - 1000,
       assigned_bytes = assigned_bytes - 1024000, confirmed_chunks = confirmed_chunks + 1000 where node_id = $1`,
    [rowId],
  );
  if (replica === 2) {
    await db.query(
      `update node_registry.uploads set remaining_chunks = 0, charged_chunks = 1000, charged_bytes = 1024000,
         state = 'completed' where upload_id = md5('bare ' || $1::text)::uuid`,
      [round],
    );
    await db.query(
      `insert into node_registry.under_replicated_chunks (chunk_hash, live_replicas, wanted_replicas, since)
       select h, 2, 3, now() from unnest($1::bytea[]) h`,
      [bytes],
    );
  } else if (replica === 3) {
    await db.query("delete from node_registry.under_replicated_chunks where chunk_hash = any($1::bytea[])", [bytes]);
  }
  await db.query(
    `insert into node_registry.outbox (event_id, subject, key, key_version, type, payload)
     select gen_random_uuid(), 'decentrastore.chunk.stored.' || k, k, $2, 'decentrastore.events.v1.ChunkStored', $3
     from unnest($1::text[]) k`,
    [hashes, replica, payload],
  );
  await db.query("commit");
}
