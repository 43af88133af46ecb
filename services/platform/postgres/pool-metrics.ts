import type { Metrics } from "#platform/ops/metrics.ts";

export interface PoolMetrics {
  readonly waited: (seconds: number) => void;
  readonly held: (seconds: number) => void;
  readonly refused: () => void;
  readonly reconnected: () => void;
  readonly conflicted: (code: string) => void;
}

/** Where a pool's figures come from; read whenever the metrics are collected. */
export interface PoolFigures {
  readonly size: () => number;
  readonly inUse: () => number;
  readonly waiting: () => number;
}

/** Size, use, waiting and hold time of a service's pool. */
export function createPoolMetrics(metrics: Metrics, figures: PoolFigures): PoolMetrics {
  const gauge = (name: string, help: string, value: () => number) =>
    metrics.gauge({ name, help }, (collected) => collected.set(value()));
  gauge("database_pool_connections", "Open connections, idle ones included.", figures.size);
  gauge("database_pool_in_use", "Connections that a caller holds.", figures.inUse);
  gauge("database_pool_waiting", "Callers that wait for a connection.", figures.waiting);
  const wait = metrics.histogram({ name: "database_pool_wait_seconds", help: "Time until a caller had a connection." });
  const hold = metrics.histogram({ name: "database_pool_hold_seconds", help: "Time a caller kept its connection." });
  const refused = metrics.counter({
    name: "database_pool_refused_total",
    help: "Callers that got no connection in time.",
  });
  const reconnected = metrics.counter({
    name: "database_pool_reconnects_total",
    help: "Connections that were found dead and replaced before use.",
  });
  const conflicts = metrics.counter({
    name: "database_conflicts_total",
    help: "Deadlocks (40P01) and serialization failures (40001), which were tried again.",
    labels: ["code"],
  });
  return {
    conflicted: (code) => conflicts.inc({ code }),
    waited: (seconds) => wait.observe(seconds),
    held: (seconds) => hold.observe(seconds),
    refused: () => refused.inc(),
    reconnected: () => reconnected.inc(),
  };
}
