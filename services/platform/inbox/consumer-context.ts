import type { Lease } from "#platform/leadership/leadership.ts";
import type { ConsumerMetrics } from "./consumer-metrics.ts";
import type { ConsumerOptions } from "./consumer-options.ts";

/** What a session of a consumer works with. */
export interface ConsumerContext {
  options: Omit<ConsumerOptions, "metrics">;
  metrics: ConsumerMetrics;
  lease: Lease;
  /** The lease's name, compared with its epoch in every transaction. */
  leaseName: string;
  /** Aborted when the consumer has to be set up again. */
  doubt: AbortController;
}
