import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { addProcessMetrics } from "./process-metrics.ts";

/** From half a millisecond to half a minute, the default deadline of a unary RPC. */
const DURATION_BUCKETS_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export interface MetricOptions<L extends string> {
  /** snake_case without the prefix "decentrastore_", which is added. Counters end in _total, units come last. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly L[];
}

/**
 * The metrics of one service instance. Each instance has its own registry, so that several can live in one process
 * (tests). A name that exists already is given back, so that parts that are started twice share their metrics.
 */
export interface Metrics {
  readonly registry: Registry;
  counter<L extends string = never>(options: MetricOptions<L>): Counter<L>;
  /** `collect` is called at each scrape and sets the gauge. */
  gauge<L extends string = never>(options: MetricOptions<L>, collect?: (gauge: Gauge<L>) => void): Gauge<L>;
  /** Seconds by default; other buckets for other units. */
  histogram<L extends string = never>(options: MetricOptions<L> & { buckets?: readonly number[] }): Histogram<L>;
}

/** With `withProcess` also event loop delay, garbage collection, memory and open files of the process. */
export function createMetrics(service: string, options: { withProcess?: boolean } = {}): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  if (options.withProcess ?? false) addProcessMetrics(registry);
  return {
    registry,
    counter: <L extends string>(metric: MetricOptions<L>) => {
      const existing = registry.getSingleMetric<L>(nameOf(metric));
      return existing instanceof Counter ? existing : new Counter<L>(configOf(registry, metric));
    },
    gauge: <L extends string>(metric: MetricOptions<L>, collect?: (gauge: Gauge<L>) => void) => {
      const existing = registry.getSingleMetric<L>(nameOf(metric));
      if (existing instanceof Gauge) return existing;
      const config = configOf(registry, metric);
      if (collect === undefined) return new Gauge<L>(config);
      const gauge: Gauge<L> = new Gauge<L>({ ...config, collect: () => collect(gauge) });
      return gauge;
    },
    histogram: <L extends string>(metric: MetricOptions<L> & { buckets?: readonly number[] }) => {
      const existing = registry.getSingleMetric<L>(nameOf(metric));
      if (existing instanceof Histogram) return existing;
      return new Histogram<L>({
        ...configOf(registry, metric),
        buckets: [...(metric.buckets ?? DURATION_BUCKETS_SECONDS)],
      });
    },
  };
}

function nameOf(metric: { readonly name: string }): string {
  return `decentrastore_${metric.name}`;
}

function configOf<L extends string>(registry: Registry, metric: MetricOptions<L>) {
  return { name: nameOf(metric), help: metric.help, labelNames: [...(metric.labels ?? [])], registers: [registry] };
}
