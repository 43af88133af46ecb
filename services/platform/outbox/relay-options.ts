import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "#platform/nats/connect.ts";
import type { StreamName, StreamSettings } from "#platform/nats/streams.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Outbox } from "./outbox.ts";

export interface RelayOptions {
  pool: Pool;
  schema: string;
  nats: Nats;
  /** The streams that belong to this service; the relay makes them. */
  streams: readonly StreamName[];
  outbox: Outbox;
  clock: Clock;
  log: Logger;
  metrics: Metrics;
  signal: AbortSignal;
  streamSettings?: StreamSettings;
  /** How long another process waits for this one's relay after a crash, default 10,000. */
  leaseTtlMs?: number;
  /** How often rows are looked for that nobody told of, default 75. */
  pollMs?: number;
}
