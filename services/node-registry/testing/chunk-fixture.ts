import { createHash, randomBytes, randomUUID } from "node:crypto";
import { type Client, createClient, createRouterTransport, type Interceptor } from "@connectrpc/connect";
import { z } from "zod";
import { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { createOutbox } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { hexBytes, sql, zInt8 } from "#platform/postgres/sql.ts";
import { type Caller, callerKey } from "#platform/rpc/caller.ts";
import { toConnectError } from "#platform/rpc/details.ts";
import { RpcError } from "#platform/rpc/errors.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createTestDatabase, createTestLogger, type TestDatabase } from "#platform/testing/test-database.ts";
import { type AssembledChunkRooms, createChunkRooms } from "../chunk-rooms.ts";
import { loadNodeRegistryConfig } from "../config.ts";
import type { Deps } from "../deps.ts";
import { createNodeTable } from "../directory/node-table.ts";
import { selectNodeRecordsAfter } from "../directory/nodes.store.ts";
import { repairHooks } from "../repair-rooms.ts";
import { createQuotaStub, type QuotaStub } from "./quota-stub.ts";

export interface TestNode {
  readonly nodeId: string;
  readonly rowId: bigint;
  readonly client: Client<typeof NodeService>;
}

export interface NodeTraits {
  readonly region?: string;
  readonly network?: string;
  readonly freeBytes?: bigint;
  readonly capacityGb?: number;
  readonly liveness?: "never_seen" | "online" | "suspect" | "offline";
  readonly state?: "in_service" | "draining" | "maintenance" | "disqualified" | "deregistered";
  readonly isOnProbation?: boolean;
  readonly reputation?: number;
}

/** The chunk rooms over a database of the test's own, a clock that the test moves and a stand-in for user-quota. */
export interface ChunkFixture extends AsyncDisposable {
  readonly db: TestDatabase;
  readonly pool: Pool;
  readonly clock: ManualClock;
  readonly deps: Deps;
  readonly rooms: AssembledChunkRooms;
  readonly quota: QuotaStub;
  readonly chunks: Client<typeof ChunkService>;
  addNode(traits?: NodeTraits): Promise<TestNode>;
  addNodes(count: number): Promise<TestNode[]>;
  changeNode(node: TestNode, traits: NodeTraits): Promise<void>;
  nodeById(nodeId: string): TestNode;
  /** The rooms of a second process on the same database. */
  anotherProcess(): Promise<ChunkFixture>;
}

const gateway: Caller = {
  kind: "service",
  clientId: "gateway",
  scopes: new Set(["chunks.read", "chunks.write", "usage.read", "nodes.read"]),
};

export function newHash(): string {
  return randomBytes(32).toString("hex");
}

export function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Chunks with random hashes, as PlaceChunks takes them. */
export function newChunks(count: number, sizeBytes = 1_000n) {
  return Array.from({ length: count }, (_, blockIndex) => ({ chunkHash: newHash(), sizeBytes, blockIndex }));
}

export interface FixtureOptions {
  readonly db?: TestDatabase;
  readonly clock?: ManualClock;
  readonly quota?: QuotaStub;
  readonly nodes?: Map<string, TestNode>;
}

export async function createChunkFixture(options: FixtureOptions = {}): Promise<ChunkFixture> {
  const db = options.db ?? (await createTestDatabase());
  const pool = await db.pool("node_registry", { poolSize: 4, maxOverflow: 26 });
  const clock = options.clock ?? new ManualClock();
  const quota = options.quota ?? createQuotaStub();
  const nodes = options.nodes ?? new Map<string, TestNode>();
  const view = createNodeTable();
  const deps: Deps = {
    config: testConfig(db),
    instanceId: randomUUID(),
    pool,
    outbox: createOutbox("node_registry"),
    clock,
    random: Math.random,
    log: createTestLogger("node-registry"),
    metrics: createMetrics("node-registry"),
    view,
    userQuota: quota.client,
  };
  const rooms = createChunkRooms(deps, repairHooks(deps));
  const refresh = async () => {
    for (const record of await selectNodeRecordsAfter(pool, 0n, 10_000)) view.put(record);
  };
  await refresh();
  const addNode = async (traits: NodeTraits = {}): Promise<TestNode> => {
    const nodeId = newHash();
    const rowId = await insertNode(pool, nodeId, traits, nodes.size);
    await refresh();
    // The pools of the placer may be a second old.
    await clock.advance(1_000);
    const node = { nodeId, rowId, client: nodeClient(rooms, nodeId) };
    nodes.set(nodeId, node);
    return node;
  };
  return {
    db,
    pool,
    clock,
    deps,
    rooms,
    quota,
    chunks: serviceClient(rooms),
    addNode,
    addNodes: async (count) => {
      const added: TestNode[] = [];
      for (let index = 0; index < count; index += 1) added.push(await addNode());
      return added;
    },
    changeNode: async (node, traits) => {
      await updateNode(pool, node.rowId, traits);
      const [record] = (await selectNodeRecordsAfter(pool, node.rowId - 1n, 1)).filter((r) => r.rowId === node.rowId);
      const known = view.nodeByRowId(node.rowId);
      if (record !== undefined) view.put(record);
      else if (known !== undefined) view.put({ ...known, state: "deregistered" });
      await clock.advance(1_000);
    },
    nodeById: (nodeId) => {
      const node = nodes.get(nodeId);
      if (node === undefined) throw new Error(`no test node ${nodeId}`);
      return { ...node, client: nodeClient(rooms, nodeId) };
    },
    anotherProcess: () => createChunkFixture({ db, clock, quota, nodes }),
    [Symbol.asyncDispose]: async () => {
      if (options.db === undefined) await db[Symbol.asyncDispose]();
    },
  };
}

async function insertNode(pool: Pool, nodeId: string, traits: NodeTraits, index: number): Promise<bigint> {
  const network = traits.network ?? `10.${Math.floor(index / 250)}.${index % 250}.0/24`;
  const state = traits.state ?? "in_service";
  const capacityGb = traits.capacityGb ?? 100;
  const rowId = await pool.oneFirst(sql.type(z.strictObject({ id: zInt8 }))`
    insert into node_registry.storage_nodes
      (node_id, address_host, address_port, region, capacity_gb, state, is_active, reputation_score, is_on_probation)
    values (${hexBytes(nodeId)}, '127.0.0.1', ${9000 + index}, ${traits.region ?? `region-${index}`}, ${capacityGb},
      ${state}, ${state === "in_service"}, ${traits.reputation ?? 1}, ${traits.isOnProbation ?? false})
    returning id`);
  await pool.query(sql.unsafe`
    insert into node_registry.node_leases (node_row_id, liveness, free_bytes, peer_network)
    values (${rowId}, ${traits.liveness ?? "online"}, ${traits.freeBytes ?? BigInt(capacityGb) * 2n ** 30n},
      ${network}::cidr)`);
  return rowId;
}

async function updateNode(pool: Pool, rowId: bigint, traits: NodeTraits): Promise<void> {
  if (traits.state !== undefined) {
    await pool.query(sql.unsafe`
      update node_registry.storage_nodes
      set state = ${traits.state}, is_active = ${traits.state === "in_service"}, revision = revision + 1,
        maintenance_until = case when ${traits.state === "maintenance"} then now() + interval '1 day' end
      where id = ${rowId}`);
  }
  await pool.query(sql.unsafe`
    update node_registry.node_leases
    set liveness = coalesce(${traits.liveness ?? null}, liveness),
      free_bytes = coalesce(${traits.freeBytes ?? null}, free_bytes)
    where node_row_id = ${rowId}`);
}

/** Errors as the policy of a real server maps them; identity as it was proven there. */
function asCaller(caller: Caller): Interceptor[] {
  return [
    (next) => async (request) => {
      request.contextValues.set(callerKey, caller);
      try {
        return await next(request);
      } catch (error) {
        if (!(error instanceof RpcError)) console.error(error);
        throw error instanceof RpcError ? toConnectError(error) : error;
      }
    },
  ];
}

export function serviceClient(rooms: AssembledChunkRooms): Client<typeof ChunkService> {
  const transport = createRouterTransport((router) => router.service(ChunkService, rooms.rpcs), {
    router: { interceptors: asCaller(gateway) },
  });
  return createClient(ChunkService, transport);
}

function nodeClient(rooms: AssembledChunkRooms, nodeId: string): Client<typeof NodeService> {
  const transport = createRouterTransport((router) => router.service(NodeService, rooms.nodeRpcs), {
    router: { interceptors: asCaller({ kind: "node", nodeId }) },
  });
  return createClient(NodeService, transport);
}

function testConfig(db: TestDatabase) {
  return loadNodeRegistryConfig({
    DATABASE_URL: db.url("node_registry_app"),
    NATS_URL: "nats://127.0.0.1:4222",
    SERVICE_CLIENT_ID: "node-registry",
    SERVICE_CLIENT_SECRET: "not used here",
    KEY_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
  });
}
