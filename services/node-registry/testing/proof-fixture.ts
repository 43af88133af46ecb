import { hash, randomUUID } from "node:crypto";
import { type Client, createClient, createRouterTransport, type Interceptor } from "@connectrpc/connect";
import type { NodeCommand, ProveChunk } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { callerKey } from "#platform/rpc/caller.ts";
import { toConnectError } from "#platform/rpc/details.ts";
import { RpcError } from "#platform/rpc/errors.ts";
import type { NodeRegistryConfig } from "../config.ts";
import { createProofRooms, type ProofRooms } from "../proof-rooms.ts";
import { type Budget, createBudget } from "../proofs/schedule.ts";
import { scheduleOnce, TICK_MS } from "../proofs/scheduler.worker.ts";
import { countSuccesses } from "../proofs/success-counter.worker.ts";
import { scorePending } from "../reputation/scorer.worker.ts";
import { type ChunkFixture, createChunkFixture, type FixtureOptions, type TestNode } from "./chunk-fixture.ts";
import { proofOf, rootOf } from "./merkle-tree.ts";

export interface ProvingNode extends TestNode {
  readonly proofs: Client<typeof NodeService>;
}

export type AskedProof = NodeCommand & { readonly prove: ProveChunk };

export interface StoredChunk {
  readonly userId: string;
  readonly uploadId: string;
  readonly chunkHash: string;
  readonly bytes: Uint8Array;
  /** Nodes that have confirmed it, in the order of the placement. */
  readonly holders: readonly ProvingNode[];
}

/** The chunk and proof rooms of one process; time passes and workers turn only as the test says. */
export interface ProofFixture extends AsyncDisposable {
  readonly chunks: ChunkFixture;
  readonly rooms: ProofRooms;
  addNodes(count: number): Promise<ProvingNode[]>;
  /** Places a chunk on `replicas` nodes, which confirm it, and makes it due. */
  store(options?: { sizeBytes?: number; root?: "true" | "false" | "none"; replicas?: number }): Promise<StoredChunk>;
  makeDue(chunkHash: string): Promise<void>;
  release(chunk: StoredChunk): Promise<void>;
  /** A heartbeat of each node: what its answer asks to prove. */
  beat(...nodes: readonly ProvingNode[]): AskedProof[];
  /** One round of the scheduler. */
  schedule(looksForStale?: boolean): Promise<void>;
  /** Beats for this long, one heartbeat every 15 s and a round after each. */
  live(ms: number, nodes: readonly ProvingNode[]): Promise<void>;
  /** Beats until the node is asked for something. */
  untilAsked(node: ProvingNode): Promise<AskedProof>;
  answer(node: ProvingNode, command: AskedProof, bytes: Uint8Array): Promise<boolean>;
  score(): Promise<void>;
  /** The same node with a client of this process. */
  proverOf(node: TestNode): ProvingNode;
  /** Another process on the same database. */
  anotherProcess(): Promise<ProofFixture>;
}

export async function createProofFixture(
  options: FixtureOptions & { readonly config?: Partial<NodeRegistryConfig>; readonly chunks?: ChunkFixture } = {},
): Promise<ProofFixture> {
  const chunks = options.chunks ?? (await createChunkFixture(options));
  const deps = { ...chunks.deps, config: { ...chunks.deps.config, ...options.config } };
  const rooms = createProofRooms(deps);
  const budget = createBudget(chunks.clock, 10_000);
  const provers = new Map<string, ProvingNode>();
  const prover = (node: TestNode): ProvingNode => {
    const known = provers.get(node.nodeId) ?? { ...node, proofs: proofClient(rooms, node.nodeId) };
    provers.set(node.nodeId, known);
    return known;
  };
  const fixture: ProofFixture = {
    chunks,
    rooms,
    proverOf: prover,
    addNodes: async (count) => (await chunks.addNodes(count)).map(prover),
    store: (what = {}) => storeChunk(fixture, prover, what),
    makeDue: async (chunkHash) => {
      await chunks.pool.query(sql.unsafe`
        update node_registry.chunk_storage set next_proof_at = ${chunks.clock.now().toString()}::timestamptz
        where chunk_hash = decode(${chunkHash}, 'hex')`);
    },
    release: async ({ userId, uploadId, chunkHash }) => {
      await chunks.chunks.releaseChunks({ userId, uploadId, chunkHashes: [chunkHash] });
    },
    beat: (...nodes) => nodes.flatMap((node) => provesOf(rooms.commandsFor(node.nodeId, 16))),
    schedule: async (looksForStale = false) => {
      rooms.proofs.reception.tick();
      await scheduleOnce(rooms.proofs, budget, looksForStale);
    },
    live: (ms, nodes) => live(fixture, budget, ms, nodes),
    untilAsked: async (node) => {
      for (let beats = 0; beats < 100; beats += 1) {
        const [command] = fixture.beat(node);
        if (command !== undefined) return command;
        await live(fixture, budget, 15_000, [node]);
      }
      throw new Error("the node is not asked");
    },
    answer: async (node, command, bytes) => {
      const answer = await node.proofs.submitStorageProof(answerOf(command, bytes));
      return answer.isAccepted;
    },
    score: async () => {
      const { pool, outbox, clock, log, metrics, view } = deps;
      await countSuccesses({ pool, outbox, clock, log, retentionMs: deps.config.PROOF_VERDICT_RETENTION });
      await scorePending({ pool, outbox, clock, log, metrics, view, rules: rooms.rules });
    },
    anotherProcess: async () => createProofFixture({ ...options, chunks: await chunks.anotherProcess() }),
    [Symbol.asyncDispose]: () => chunks[Symbol.asyncDispose](),
  };
  return fixture;
}

/** What an honest node that holds these bytes would send. */
export function answerOf(command: AskedProof, bytes: Uint8Array) {
  const { chunkHash, nonce, leafIndex } = command.prove;
  const { commandId } = command;
  if (leafIndex === undefined) return { commandId, chunkHash, nonce, proof: { case: "chunk" as const, value: bytes } };
  return { commandId, chunkHash, nonce, proof: { case: "merkleProof" as const, value: proofOf(bytes, leafIndex) } };
}

function provesOf(commands: readonly NodeCommand[]) {
  return commands.flatMap((command) =>
    command.command.case === "proveChunk" ? [{ ...command, prove: command.command.value }] : [],
  );
}

async function storeChunk(
  { chunks, makeDue }: ProofFixture,
  prover: (node: TestNode) => ProvingNode,
  { sizeBytes = 5_000, root = "true", replicas = 3 }: { sizeBytes?: number; root?: string; replicas?: number },
): Promise<StoredChunk> {
  const bytes = new Uint8Array(sizeBytes);
  crypto.getRandomValues(bytes.subarray(0, Math.min(sizeBytes, 60_000)));
  const chunkHash = hash("sha256", bytes);
  const proofRoot = root === "true" ? rootOf(bytes) : "ab".repeat(32);
  const [userId, uploadId] = [randomUUID(), randomUUID()];
  const placed = await chunks.chunks.placeChunks({
    userId,
    uploadId,
    replicas,
    chunks: [{ chunkHash, sizeBytes: BigInt(sizeBytes), blockIndex: 0, ...(root === "none" ? {} : { proofRoot }) }],
  });
  const holders = (placed.chunks[0]?.nodes ?? []).map(({ nodeId }) => prover(chunks.nodeById(nodeId)));
  for (const holder of holders) await holder.client.reportStoredChunks({ chunkHashes: [chunkHash], sizesBytes: [] });
  await makeDue(chunkHash);
  return { userId, uploadId, chunkHash, bytes, holders };
}

async function live(fixture: ProofFixture, budget: Budget, ms: number, nodes: readonly ProvingNode[]): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += 15_000) {
    for (let tick = 0; tick < 15_000; tick += TICK_MS) {
      await fixture.chunks.clock.advance(TICK_MS);
      fixture.rooms.proofs.reception.tick();
    }
    fixture.beat(...nodes);
    await scheduleOnce(fixture.rooms.proofs, budget, false);
  }
}

function proofClient(rooms: ProofRooms, nodeId: string): Client<typeof NodeService> {
  const asNode: Interceptor = (next) => async (request) => {
    request.contextValues.set(callerKey, { kind: "node", nodeId });
    try {
      return await next(request);
    } catch (error) {
      throw error instanceof RpcError ? toConnectError(error) : error;
    }
  };
  const transport = createRouterTransport((router) => router.service(NodeService, rooms.nodeRpcs), {
    router: { interceptors: [asNode] },
  });
  return createClient(NodeService, transport);
}
