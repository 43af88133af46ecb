import type { Metrics } from "#platform/ops/metrics.ts";

export type ConsumerMetrics = ReturnType<typeof createConsumerMetrics>;

export function createConsumerMetrics(metrics: Metrics) {
  return {
    applied: metrics.counter({
      name: "inbox_applied_total",
      help: "Events whose effect was committed",
      labels: ["consumer"],
    }),
    duplicates: metrics.counter({
      name: "inbox_duplicates_total",
      help: "Events that had been applied before and were only acknowledged",
      labels: ["consumer"],
    }),
    failures: metrics.counter({
      name: "inbox_failures_total",
      help: "Tries of single events that failed",
      labels: ["consumer"],
    }),
    deadLetters: metrics.counter({
      name: "inbox_dead_letters_total",
      help: "Events that were given up after all their tries and went to the dead letters",
      labels: ["consumer"],
    }),
    gaps: metrics.counter({
      name: "inbox_gaps_total",
      help: "Times that the stream had dropped messages before they were read; the log tells which, and the repair",
      labels: ["consumer"],
    }),
    parked: metrics.gauge({
      name: "inbox_parked_events",
      help: "Events that wait because one of their key failed",
      labels: ["consumer"],
    }),
    pending: metrics.gauge({
      name: "inbox_pending_events",
      help: "Events in the stream behind the last one delivered",
      labels: ["consumer"],
    }),
    age: metrics.histogram({
      name: "inbox_event_age_seconds",
      help: "Age of the oldest event of a batch when its effect was committed",
      labels: ["consumer"],
    }),
  };
}
