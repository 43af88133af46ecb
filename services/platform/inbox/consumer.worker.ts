import { type Lease, runAsLeader } from "#platform/leadership/leadership.ts";
import { isStreamMissing } from "#platform/nats/streams.ts";
import { backgroundOf } from "#platform/postgres/pool.ts";
import { type ConsumerMetrics, createConsumerMetrics } from "./consumer-metrics.ts";
import type { ConsumerOptions } from "./consumer-options.ts";
import { runConsumerSession } from "./consumer-session.ts";

export type { ConsumerOptions } from "./consumer-options.ts";
export type { ReceivedEvent } from "./received-event.ts";

/**
 * Applies a stream's events to the database: at least once delivered, exactly once applied, in stream order within each
 * key, by one process at a time (a lease, whose epoch each transaction compares).
 *
 * A batch is one transaction: inbox rows, effect, commit; only then it is acknowledged. An event that fails keeps the
 * later ones of its key waiting and is tried again with growing, jittered pauses; after `maxTries` it goes to the dead
 * letters. While the database is away everything waits, and no try is counted. The stream and the durable may appear
 * later or vanish: the durable is then made again, and the inbox drops what was applied before.
 * Disposing finishes the batch under way; after a SIGKILL the next process goes on from the acknowledged floor.
 */
export function startConsumer(given: ConsumerOptions): AsyncDisposable {
  const options = { ...given, pool: backgroundOf(given.pool) };
  const stop = new AbortController();
  const metrics = createConsumerMetrics(options.metrics);
  const leaseName = `consumer ${options.durable}`;
  const running = runAsLeader({
    pool: options.pool,
    schema: options.schema,
    name: leaseName,
    ttlMs: options.leaseTtlMs ?? 10_000,
    clock: options.clock,
    log: options.log,
    signal: AbortSignal.any([options.signal, stop.signal]),
    work: (lease) => runTerm(options, { metrics, lease, leaseName }),
  });
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort(new Error("the consumer stops"));
      await running;
    },
  };
}

/** One term of leadership: set the durable up, consume until something about it is doubtful, and again. */
async function runTerm(
  options: ConsumerOptions,
  context: { metrics: ConsumerMetrics; lease: Lease; leaseName: string },
): Promise<void> {
  const { nats, clock, log, stream, durable } = options;
  const { lease } = context;
  let doubt = new AbortController();
  let wasMissing = false;
  using stack = new DisposableStack();
  stack.defer(nats.onReconnect(() => doubt.abort(new Error("the connection was lost"))));
  while (!lease.signal.aborted && lease.isHeld()) {
    doubt = new AbortController();
    if (!nats.isConnected()) {
      await clock.sleep(100, lease.signal);
      continue;
    }
    const startedAt = clock.monotonicMs();
    try {
      await runConsumerSession({ options, doubt, ...context });
    } catch (error) {
      if (lease.signal.aborted) return;
      const isMissing = isStreamMissing(error);
      if (isMissing && !wasMissing) log.info({ stream, consumer: durable }, "waiting for the stream");
      wasMissing = isMissing;
      if (!isMissing) log.warn({ err: error, consumer: durable }, "could not set up the consumer, trying again");
    }
    // Whatever ends sessions at once must not become a busy loop.
    const didLast = clock.monotonicMs() - startedAt > 5_000;
    await clock.sleep((didLast ? 50 : 300) + Math.random() * 300, lease.signal);
  }
}
