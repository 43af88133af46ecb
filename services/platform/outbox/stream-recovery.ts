import type { StreamInfo } from "nats";
import type { Logger } from "#platform/log/logger.ts";
import type { Nats } from "#platform/nats/connect.ts";
import {
  creationOf,
  ensureStream,
  type StreamName,
  type StreamSettings,
  streamDefinitions,
} from "#platform/nats/streams.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { knownStream, type RepublishFilter, rememberStream, unpublish } from "./republish.store.ts";

const PAGE = 5_000;
const RETRY_MS = 2_000;

export class NotLeadingError extends Error {
  override readonly name = "NotLeadingError";
}

export interface RecoveryOptions {
  nats: Nats;
  pool: Pool;
  schema: string;
  streams: readonly StreamName[];
  streamSettings: StreamSettings;
  epoch: bigint;
  log: Logger;
  signal: AbortSignal;
  /**
   * Streams that were seen to fall back, and how far; emptied as they are dealt with. Their last sequence may not tell any
   * more: what was in flight has been stored behind the gap.
   */
  fellBackTo: Map<string, number>;
}

/**
 * Makes missing streams, and finds out which of them lost events: JetStream's data was wiped (the stream is another
 * one than the one that was published to) or fell back (its last sequence is below one that it acknowledged). What the
 * outbox still holds of those is published again by the relay, in order; consumers drop what they know by their inbox.
 *
 * Nothing may be in flight meanwhile: an acknowledgement of the old stream, marked after this, would lose its event.
 * A crash in between is harmless, since the stream is remembered only at the end.
 *
 * Answers the streams that can neither be found nor made: one without a leader, or for which the broker has no room. Their
 * events wait in the outbox, those of the others do not wait for them.
 *
 * @throws when it is so with all of them.
 */
export async function recoverStreams(options: RecoveryOptions): Promise<readonly StreamName[]> {
  const { nats, pool, schema, streams, streamSettings, epoch, log, signal, fellBackTo } = options;
  const unready: StreamName[] = [];
  for (const stream of streams) {
    let info: StreamInfo;
    try {
      ({ info } = await ensureStream(nats, stream, streamSettings, log));
    } catch (error) {
      unready.push(stream);
      if (unready.length === streams.length) throw error;
      log.error({ err: error, stream }, "the stream cannot be used, its events wait in the outbox");
      continue;
    }
    const known = await knownStream(pool, schema, stream);
    const createdAt = creationOf(info);
    const lastSequence = BigInt(info.state.last_seq);
    const intactUpTo = Math.min(info.state.last_seq, fellBackTo.get(stream) ?? Number.POSITIVE_INFINITY);
    const lost = lostPart(known, { createdAt, lastSequence: BigInt(intactUpTo) });
    if (lost !== undefined) {
      const moved = await unpublishAll(pool, schema, { ...lost, prefixes: subjectPrefixes([stream]) }, signal);
      if (signal.aborted) return unready;
      if (moved > 0) log.warn({ stream, events: moved }, "the stream lost events, publishing them again");
    }
    if (known === undefined || lost !== undefined) {
      const isLeading = await rememberStream(pool, schema, epoch, { stream, createdAt, lastSequence });
      if (!isLeading) throw new NotLeadingError("another relay leads");
    }
    fellBackTo.delete(stream);
  }
  return unready;
}

/** Calls back once when one of these streams can be used; ends without it when the signal aborts. */
export async function awaitStreams(
  { nats, streamSettings, log, clock }: Pick<RecoveryOptions, "nats" | "streamSettings" | "log"> & { clock: Clock },
  unready: readonly StreamName[],
  signal: AbortSignal,
  onReady: () => void,
): Promise<void> {
  while (unready.length > 0) {
    await clock.sleep(RETRY_MS, signal);
    if (signal.aborted) return;
    const tries = unready.map((stream) => ensureStream(nats, stream, streamSettings, log));
    if ((await Promise.allSettled(tries)).every(({ status }) => status === "rejected")) continue;
    onReady();
    return;
  }
}

interface StreamState {
  createdAt: Temporal.Instant;
  lastSequence: bigint;
}

/** Which of the published events the stream no longer has; undefined when it has them all. */
export function lostPart(known: StreamState | undefined, found: StreamState): RepublishFilter | undefined {
  if (known === undefined || !known.createdAt.equals(found.createdAt)) return {};
  return found.lastSequence < known.lastSequence ? { afterSequence: found.lastSequence } : undefined;
}

/** The constant beginnings of the streams' subjects. */
export function subjectPrefixes(streams: readonly StreamName[]): string[] {
  return streams.flatMap((stream) =>
    streamDefinitions[stream].subjects.map((subject) => subject.replace(/[*>].*$/, "")),
  );
}

/** In pages, so that millions of rows neither meet the statement timeout nor hold up vacuum. Answers how many. */
export async function unpublishAll(
  pool: Pool,
  schema: string,
  filter: RepublishFilter,
  signal?: AbortSignal,
): Promise<number> {
  let total = 0;
  let afterId = 0n;
  while (!signal?.aborted) {
    const page = await unpublish(pool, schema, filter, { afterId, limit: PAGE });
    if (page === undefined) break;
    total += page.moved;
    afterId = page.lastId;
  }
  return total;
}
