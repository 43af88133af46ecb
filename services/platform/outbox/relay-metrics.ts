import type { Metrics } from "#platform/ops/metrics.ts";

export type RelayMetrics = ReturnType<typeof createRelayMetrics>;

/** Only the leading relay of a service reports the gauges; the others show zero. */
export function createRelayMetrics(metrics: Metrics) {
  return {
    published: metrics.counter({
      name: "outbox_published_total",
      help: "Events that JetStream acknowledged and that were marked in the outbox",
      labels: ["stream"],
    }),
    failures: metrics.counter({
      name: "outbox_publish_failures_total",
      help: "Publications that were not stored, by cause; each is tried again",
      labels: ["cause"],
    }),
    pending: metrics.gauge({
      name: "outbox_pending_events",
      help: "Committed events that are not yet marked as published; counted up to 100,000",
    }),
    oldestPending: metrics.gauge({
      name: "outbox_oldest_pending_seconds",
      help: "Age of the oldest event that is not yet published",
    }),
    pausedKeys: metrics.gauge({
      name: "outbox_paused_keys",
      help: "Keys whose events wait because publishing one of them failed",
    }),
    isLeading: metrics.gauge({ name: "outbox_relay_leading", help: "1 in the process that publishes the outbox" }),
    streamFull: metrics.gauge({
      name: "jetstream_stream_full",
      help: "1 while the stream refuses events because it is full; they wait in the outbox",
      labels: ["stream"],
    }),
    streamUse: metrics.gauge({
      name: "jetstream_stream_used_ratio",
      help: "Part of the stream's max_bytes that is in use",
      labels: ["stream"],
    }),
    streamNearlyFull: metrics.gauge({
      name: "jetstream_stream_nearly_full",
      help: "1 when the stream uses 80 % of its max_bytes or more",
      labels: ["stream"],
    }),
  };
}
