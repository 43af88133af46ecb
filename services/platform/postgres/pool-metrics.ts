import { Counter, Gauge, Histogram, type Registry } from "prom-client";

export interface PoolMetrics {
  readonly waited: (seconds: number) => void;
  readonly held: (seconds: number) => void;
  readonly refused: () => void;
  readonly reconnected: () => void;
}

/** Where a pool's figures come from; read whenever the metrics are collected. */
export interface PoolFigures {
  readonly size: () => number;
  readonly inUse: () => number;
  readonly waiting: () => number;
}

const buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Size, use, waiting and hold time of one pool. */
export function createPoolMetrics(registry: Registry, figures: PoolFigures): PoolMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  gauge("database_pool_connections", "Open connections, idle ones included", figures.size);
  gauge("database_pool_in_use", "Connections that a caller holds", figures.inUse);
  gauge("database_pool_waiting", "Callers that wait for a connection", figures.waiting);
  const wait = new Histogram({
    name: "database_pool_wait_seconds",
    help: "Time until a caller had a connection",
    buckets,
    registers,
  });
  const hold = new Histogram({
    name: "database_pool_hold_seconds",
    help: "Time a caller kept its connection",
    buckets,
    registers,
  });
  const refused = new Counter({
    name: "database_pool_refused_total",
    help: "Callers that got no connection in time",
    registers,
  });
  const reconnected = new Counter({
    name: "database_pool_reconnects_total",
    help: "Connections that were found dead and replaced before use",
    registers,
  });
  return {
    waited: (seconds) => wait.observe(seconds),
    held: (seconds) => hold.observe(seconds),
    refused: () => refused.inc(),
    reconnected: () => reconnected.inc(),
  };
}
