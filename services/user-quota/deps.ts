import type { Client } from "@connectrpc/connect";
import type { ChunkService } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import type { Consumption } from "#platform/inbox/consumption.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Outbox } from "#platform/outbox/outbox.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";

/** The part of node-registry that is asked. */
export type UsageClient = Pick<Client<typeof ChunkService>, "getUserUsage">;

export interface Deps {
  readonly pool: Pool;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** node-registry's view of a user's charges. */
  readonly registry: UsageClient;
  /** How far the events of node-registry that the broker holds are applied; undefined in doubt. */
  readonly chunkConsumption: () => Promise<Consumption | undefined>;
  /** The limit of new accounts. */
  readonly defaultQuotaBytes: bigint;
}
