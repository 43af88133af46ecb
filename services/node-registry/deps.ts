import type { Client, ServiceImpl } from "@connectrpc/connect";
import type { NodeCommand } from "#gen/decentrastore/node_registry/v1/node_command_pb.ts";
import type {
  ExplainNodeResponse,
  GetNetworkStatsResponse,
} from "#gen/decentrastore/node_registry/v1/node_directory_service_pb.ts";
import type { NodeService } from "#gen/decentrastore/node_registry/v1/node_service_pb.ts";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "#platform/nats/connect.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Outbox } from "#platform/outbox/outbox.ts";
import type { Pool, Transaction } from "#platform/postgres/pool.ts";
import type { RpcService } from "#platform/rpc/service.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { NodeRegistryConfig } from "./config.ts";
import type { NodeRecord } from "./directory/node-record.ts";
import type { NodeTable } from "./directory/node-table.ts";
import type { Placer } from "./placement/placer.ts";

/** What every room of the node-registry is built on: a plain object, made once in `service.ts`. */
export interface Deps {
  readonly config: NodeRegistryConfig;
  /** This process among those that share the database; new at every start. */
  readonly instanceId: string;
  readonly pool: Pool;
  readonly outbox: Outbox;
  readonly clock: Clock;
  /** From 0 (included) to 1, for jitter and weighted draws; not for secrets. */
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly view: NodeTable;
  readonly userQuota: Client<typeof UserQuotaService>;
}

/** RPCs of NodeService that the chunk rooms answer. */
export type NodeChunkRpcs = Pick<
  ServiceImpl<typeof NodeService>,
  "reportStoredChunks" | "reportDeletedChunks" | "reportLostChunks" | "reportChunkDigests" | "reportBucket"
>;

export type NodeExplanation = Pick<
  ExplainNodeResponse,
  | "brokenRules"
  | "assignedBytes"
  | "confirmedChunkCount"
  | "assignedChunkCount"
  | "deletingChunkCount"
  | "openChallenges"
  | "digestDiffersSince"
  | "reputation"
>;

export type ChunkStats = Pick<
  GetNetworkStatsResponse,
  "chunkCount" | "chunkBytes" | "underReplicatedChunkCount" | "lostChunkCount"
>;

/** What upper rooms do in the transactions of the chunk rooms. */
export interface ChunkHooks {
  /** A node has said that it lost these replicas, which counted until now. At the end of the transaction. */
  readonly onLossReported?: (tx: Transaction, losses: readonly ReportedLoss[]) => Promise<void>;
  /** A node has said that it does not have these, whether they counted or not. Their chunks are locked. */
  readonly onAbsenceReported?: (tx: Transaction, absent: readonly ReportedLoss[]) => Promise<void>;
}

export interface ReportedLoss {
  readonly nodeRowId: bigint;
  readonly chunkHash: string;
}

/** What the chunk rooms bring to the service: `createChunkRooms(deps)` in chunk-rooms.ts. */
export interface ChunkRooms {
  /** Chooses nodes; absent in a registry of nodes alone. */
  readonly placer?: Placer;
  /** Services on the internal port (ChunkService). */
  readonly services: readonly RpcService[];
  readonly nodeRpcs: NodeChunkRpcs;
  /**
   * Commands due for this node, most urgent first. Called for every heartbeat, so it looks only into memory. `limit` is
   * what fits into the answer (16 less the registry's own).
   */
  commandsFor(nodeId: string, limit: number): readonly NodeCommand[];
  /** The chunk_digest and chunk_count of a heartbeat; called at most once per node and flush (250 ms), before it. */
  onHeartbeat(
    nodeId: string,
    figures: { readonly chunkCount: bigint; readonly chunkDigest: Uint8Array | undefined },
  ): void;
  /** What ExplainNode says about the node's chunks, proofs and reputation. */
  explainNode?(node: NodeRecord): Promise<Partial<NodeExplanation>>;
  /** The chunk figures of GetNetworkStats. */
  networkStats?(): Promise<Partial<ChunkStats>>;
  /** Starts the loops of the chunk rooms (expiry, release, event consumption, ...). */
  startWorkers(signal: AbortSignal, nats: Nats): Promise<AsyncDisposable>;
}
