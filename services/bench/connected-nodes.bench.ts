import { once } from "node:events";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import pg from "pg";
import { StreamHeartbeatsRequestSchema } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import type { TestNode } from "../node-registry/testing/registry-clients.ts";
import { frameOf, openSessions, pause } from "./grpc-load.ts";
import { measured } from "./measured.ts";
import { createRegistryKit, residentBytesOf } from "./registry-kit.ts";

// How fast a crowd of nodes enrolls, what connected nodes cost the registry in memory, and how long all of them need to come back when they lose their
// connections at once. BENCH_NODES sets how many (10,000 is the goal: 120 KB each, back within 60 s, none offline).

const count = Number(process.env.BENCH_NODES ?? 10_000);
const PARALLEL = 64;

await using kit = await createRegistryKit();
const registry = await kit.registry();
const joinToken = await registry.joinToken();
const enrolledAt = performance.now();
const nodes = await inParallel(count, () => registry.enroll({ joinToken }));
const enrolledPerS = (count / (performance.now() - enrolledAt)) * 1_000;

await pause(2_000);
const before = residentBytesOf(registry.pid);
let streams = await connectAll();
await pause(5_000);
const after = residentBytesOf(registry.pid);
console.log(
  `memory of the registry: ${megabytes(before)} before, ${megabytes(after)} with ${count} connected nodes: ` +
    `${((after - before) / count / 1_000).toFixed(0)} KB each`,
);

for (const stream of streams) stream.session?.destroy();
const lostAt = performance.now();
streams = await connectAll();
const returnedAfterS = (performance.now() - lostAt) / 1_000;
await pause(2_000);
const reduced = count < 10_000 ? `${count} nodes` : undefined;
measured("enrolledRate", enrolledPerS, reduced);
measured("connectedMemory", (after - before) / count / 1_000, reduced);
measured("connectedReturn", returnedAfterS, reduced);
measured("connectedOffline", await countOffline(), reduced);
for (const stream of streams) stream.session?.destroy();

async function connectAll(): Promise<ClientHttp2Stream[]> {
  return inParallel(count, async (index) => {
    const node = nodes[index];
    if (node === undefined) throw new Error("no node");
    const [session] = await openSessions([targetOf(node)]);
    if (session === undefined) throw new Error("no session");
    return firstBeat(session);
  });
}

async function firstBeat(session: ClientHttp2Session): Promise<ClientHttp2Stream> {
  const stream = session.request({
    ":method": "POST",
    ":path": "/decentrastore.node_registry.v1.NodeService/StreamHeartbeats",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {});
  const request = create(StreamHeartbeatsRequestSchema, { sequence: 1n, usedBytes: 1n, freeBytes: 2n, chunkCount: 3n });
  stream.write(frameOf(toBinary(StreamHeartbeatsRequestSchema, request)));
  await once(stream, "data");
  stream.resume();
  return stream;
}

function targetOf(node: TestNode) {
  const { certificate, ca } = node;
  return { address: registry.edgeAddress, ca, certificate, privateKey: node.identity.privateKey };
}

async function countOffline(): Promise<number> {
  const client = new pg.Client({ connectionString: kit.superuserUrl });
  await client.connect();
  try {
    const { rows } = await client.query<{ count: string }>(
      "select count(*) from node_registry.outbox where subject like 'decentrastore.node.offline.%'",
    );
    return Number(rows[0]?.count);
  } finally {
    await client.end();
  }
}

async function inParallel<T>(total: number, work: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      for (let index = next; index < total; index = next) {
        next += 1;
        results[index] = await work(index);
      }
    }),
  );
  return results;
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
