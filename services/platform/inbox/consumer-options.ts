import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "#platform/nats/connect.ts";
import type { StreamName } from "#platform/nats/streams.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import type { Pool, Transaction } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { ReceivedEvent } from "./received-event.ts";
import type { Turn } from "./turn.ts";

/** What `apply` may say of its batch. */
export interface Batch extends Turn {
  /** Something to do once this batch has committed, e.g. to wake the outbox. */
  afterCommit(work: () => void): void;
}

export interface ConsumerOptions {
  nats: Nats;
  pool: Pool;
  /** The schema whose inbox table remembers what was applied. */
  schema: string;
  stream: StreamName;
  /** `<service>-<stream in lower case>`, e.g. `user-quota-users`: the broker's permissions allow exactly that name. */
  durable: string;
  /** One subject with wildcards; the whole stream without it. */
  filterSubject?: string;
  /** Events per transaction, default 1,000: larger ones share more of what each costs. */
  maxBatch?: number;
  /** The pause after an event's first failure, default 500; it doubles with each further one, up to a minute. */
  retryDelayMs?: number;
  /** How long another process waits for this one's consumer after a crash, default 10,000. */
  leaseTtlMs?: number;
  /** How often it is remembered how far the stream is read, and compared with what the stream still holds; 10,000. */
  lookMs?: number;
  /** Tries before an event goes to the dead letters, default 8. A database that is away is not a try. */
  maxTries?: number;
  /**
   * Gets, in stream order, only events that this consumer has not applied before; their inbox rows were inserted in the
   * same transaction. Throw to have everything rolled back and tried again, one event at a time. May run twice.
   */
  apply: (tx: Transaction, events: readonly ReceivedEvent[], batch: Batch) => Promise<void>;
  clock: Clock;
  log: Logger;
  metrics: Metrics;
  signal: AbortSignal;
}
