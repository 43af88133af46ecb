import { DiscardPolicy } from "nats";
import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "#platform/nats/connect.ts";
import { creationOf, isStreamMissing, type StreamName } from "#platform/nats/streams.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { backlogOf } from "./relay.store.ts";
import type { RelayMetrics } from "./relay-metrics.ts";
import { knownStream } from "./republish.store.ts";
import { lostPart } from "./stream-recovery.ts";

const EVERY_MS = 5_000;
const NEARLY_FULL = 0.8;

export interface StreamWatchOptions {
  pool: Pool;
  schema: string;
  nats: Nats;
  streams: readonly StreamName[];
  clock: Clock;
  log: Logger;
  metrics: RelayMetrics;
}

/**
 * Every 5 s: how much waits in the outbox, how full the streams are, and whether they are still those that were
 * published to. A stream that somebody deleted and made again under a quiet relay shows only here.
 */
export async function watchStreams(
  options: StreamWatchOptions,
  signal: AbortSignal,
  onLost: () => void,
): Promise<void> {
  const { nats, streams, clock, log, metrics } = options;
  const warned = new Set<StreamName>();
  while (!signal.aborted) {
    try {
      await reportBacklog(options);
      if (nats.isConnected()) {
        for (const stream of streams) if (await isLost(options, stream, warned)) onLost();
      }
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, "could not look at the outbox and its streams");
    }
    await clock.sleep(EVERY_MS, signal);
  }
  metrics.pending.set(0);
  metrics.oldestPending.set(0);
}

async function reportBacklog({ pool, schema, metrics }: StreamWatchOptions): Promise<void> {
  const { pending, oldestAgeSeconds } = await backlogOf(pool, schema, 100_000);
  metrics.pending.set(pending);
  metrics.oldestPending.set(oldestAgeSeconds);
}

async function isLost(options: StreamWatchOptions, stream: StreamName, warned: Set<StreamName>): Promise<boolean> {
  const { nats, pool, schema, log, metrics } = options;
  // Read first: an acknowledgement may be marked between the two, never the other way round.
  const known = await knownStream(pool, schema, stream);
  if (known === undefined) return false; // not recovered yet
  try {
    const { streams } = await nats.connection.jetstreamManager({ checkAPI: false });
    const info = await streams.info(stream);
    const used = info.config.max_bytes > 0 ? info.state.bytes / info.config.max_bytes : 0;
    metrics.streamUse.set({ stream }, used);
    // One that discards its oldest messages is full by design.
    const isNearlyFull = used >= NEARLY_FULL && info.config.discard === DiscardPolicy.New;
    metrics.streamNearlyFull.set({ stream }, isNearlyFull ? 1 : 0);
    if (!isNearlyFull) warned.delete(stream);
    else if (!warned.has(stream)) {
      warned.add(stream);
      log.warn({ stream, used }, "the stream is nearly full; a full one refuses events, which then wait in the outbox");
    }
    return lostPart(known, { createdAt: creationOf(info), lastSequence: BigInt(info.state.last_seq) }) !== undefined;
  } catch (error) {
    if (isStreamMissing(error)) return true;
    throw error;
  }
}
