import { type Lease, runAsLeader } from "#platform/leadership/leadership.ts";
import type { StreamName } from "#platform/nats/streams.ts";
import { backgroundOf } from "#platform/postgres/pool.ts";
import { RELAY_LEASE } from "./relay.store.ts";
import { createRelayMetrics, type RelayMetrics } from "./relay-metrics.ts";
import type { RelayOptions } from "./relay-options.ts";
import { runRelaySession } from "./relay-session.ts";
import { awaitStreams, NotLeadingError, recoverStreams } from "./stream-recovery.ts";
import { watchStreams } from "./stream-watch.worker.ts";

export type { RelayOptions } from "./relay-options.ts";

/**
 * Publishes the outbox of one schema to JetStream, in one process at a time.
 *
 * At least once, in order within each key: two rows of one key are never in flight together, and a key whose event
 * fails stops until it went through, while others go on. What this process commits goes out from memory; what others do, or
 * what may have to wait for theirs, is read. A full stream leaves events in the outbox; a lost stream is
 * made again and gets what the outbox holds. Disposing publishes nothing more, waits for what is in flight and marks it.
 */
export function startRelay(given: RelayOptions): AsyncDisposable {
  const options = { ...given, pool: backgroundOf(given.pool) };
  const stop = new AbortController();
  const metrics = createRelayMetrics(options.metrics);
  const running = runAsLeader({
    pool: options.pool,
    schema: options.schema,
    name: RELAY_LEASE,
    ttlMs: options.leaseTtlMs ?? 10_000,
    clock: options.clock,
    log: options.log,
    signal: AbortSignal.any([options.signal, stop.signal]),
    work: (lease) => runTerm(options, metrics, lease),
  });
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort(new Error("the relay stops"));
      await running;
    },
  };
}

/** One term of leadership: recover the streams, publish until something about them is doubtful, and again. */
async function runTerm(options: RelayOptions, metrics: RelayMetrics, lease: Lease): Promise<void> {
  const { nats, clock, log } = options;
  let doubt = new AbortController();
  const raiseDoubt = () => doubt.abort(new Error("the streams may have changed"));
  const fellBackTo = new Map<string, number>();
  const ended = new AbortController();
  const over = AbortSignal.any([lease.signal, ended.signal]);
  const watching = watchStreams({ ...options, metrics }, over, raiseDoubt);
  using stack = new DisposableStack();
  stack.defer(nats.onReconnect(raiseDoubt));
  metrics.isLeading.set(1);
  try {
    while (!lease.signal.aborted && lease.isHeld()) {
      doubt = new AbortController();
      if (!nats.isConnected()) {
        await clock.sleep(100, lease.signal);
        continue;
      }
      const settings = { streamSettings: {}, ...options };
      let unready: readonly StreamName[];
      try {
        const { epoch, signal } = lease;
        unready = await recoverStreams({ ...settings, epoch, signal, fellBackTo });
      } catch (error) {
        if (error instanceof NotLeadingError) throw error;
        log.warn({ err: error }, "could not check the streams, trying again");
        await clock.sleep(500 + Math.random() * 500, lease.signal);
        continue;
      }
      const sessionOver = new AbortController();
      const awaiting = awaitStreams(settings, unready, AbortSignal.any([over, sessionOver.signal]), raiseDoubt);
      try {
        await runRelaySession({ options, metrics, lease, doubt, fellBackTo, unready });
      } finally {
        sessionOver.abort();
        await awaiting;
      }
    }
  } finally {
    metrics.isLeading.set(0);
    ended.abort();
    await watching;
  }
}
