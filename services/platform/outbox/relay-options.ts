import type { Lease } from "#platform/leadership/leadership.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "#platform/nats/connect.ts";
import type { StreamName, StreamSettings } from "#platform/nats/streams.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Outbox } from "./outbox.ts";
import type { RelayMetrics } from "./relay-metrics.ts";

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

/** One session of the relay: from looking at the streams until something about them is doubtful. */
export interface SessionContext {
  options: Omit<RelayOptions, "metrics">;
  metrics: RelayMetrics;
  lease: Lease;
  /** Aborted when the streams may have changed: what is in flight is then given up, and the streams are looked at again. */
  doubt: AbortController;
  /** Streams that gave a number a second time, and the last one below it: what they had above that is lost. */
  fellBackTo: Map<string, number>;
  /** Streams that cannot be used: their rows are left where they are. */
  unready: readonly StreamName[];
}
