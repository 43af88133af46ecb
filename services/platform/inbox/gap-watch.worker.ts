import { creationOf, droppedUpTo } from "#platform/nats/streams.ts";
import type { Attached } from "./attach.ts";
import { inboxConsumerOf } from "./batch.ts";
import type { ConsumerContext } from "./consumer-context.ts";
import { positionOf, savePosition } from "./positions.store.ts";
import { createProgress, type Progress, type Span } from "./progress.ts";

/**
 * Where a session begins to read. What the stream has dropped since an earlier one read it is reported.
 *
 * The database tells how far that was, and not the broker, whose floor moves on when messages are purged, and with newer
 * servers also when they expire. A stream made again under its name is read from its beginning, a new consumer's from what is
 * there.
 */
export async function openProgress(context: ConsumerContext, attached: Attached): Promise<Progress> {
  const { pool, schema, durable } = context.options;
  const { streamCreatedAt } = attached;
  const known = await positionOf(pool, schema, durable);
  const readUpTo = readBefore(context, attached, known);
  if (attached.droppedUpTo > readUpTo) {
    reportGap(context, { from: readUpTo + 1, to: attached.droppedUpTo }, known?.readAt);
  } else {
    context.metrics.gaps.inc({ consumer: durable }, 0);
  }
  const from = Math.max(readUpTo, attached.droppedUpTo);
  await savePosition(pool, schema, inboxConsumerOf(context), { streamCreatedAt, readUpTo: from });
  return createProgress(from);
}

type Known = Awaited<ReturnType<typeof positionOf>>;

function readBefore({ options }: ConsumerContext, attached: Attached, known: Known): number {
  const { streamCreatedAt, last, floor } = attached;
  // A stream that lost its tail in a crash gives those numbers again.
  if (known?.streamCreatedAt.equals(streamCreatedAt)) return Math.min(known.readUpTo, last);
  // Only with a filter does a floor stay behind although nothing is left to read.
  if (floor !== undefined && options.filterSubject === undefined) return floor;
  return known === undefined ? attached.droppedUpTo : 0;
}

/**
 * Remembers every few seconds how far the session has come, and reports numbers that deliveries have left out where the
 * stream has dropped everything up to there: between others that it holds, messages were deleted singly. Disposing remembers
 * for the last time. A consumer with a filter leaves numbers out all the time, so that only its next session can tell.
 */
export function startGapWatch(
  context: ConsumerContext,
  streamCreatedAt: Temporal.Instant,
  progress: Progress,
): AsyncDisposable {
  const { nats, pool, schema, durable, clock, log, lookMs = 10_000 } = context.options;
  const stop = new AbortController();
  const remember = async () => {
    try {
      if (nats.isConnected()) await look(context, streamCreatedAt, progress);
    } catch (error) {
      log.warn({ err: error, consumer: durable }, "could not ask what the stream has dropped");
    }
    try {
      const position = { streamCreatedAt, readUpTo: progress.settled };
      await savePosition(pool, schema, inboxConsumerOf(context), position);
    } catch (error) {
      log.warn({ err: error, consumer: durable }, "could not remember how far the stream is read");
    }
  };
  const watching = (async () => {
    for (;;) {
      await clock.sleep(lookMs, stop.signal);
      if (stop.signal.aborted) return;
      await remember();
    }
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await watching;
      await remember();
    },
  };
}

async function look(context: ConsumerContext, streamCreatedAt: Temporal.Instant, progress: Progress): Promise<void> {
  const { nats, stream, durable, filterSubject } = context.options;
  // Those of now: what is dropped later does not explain them.
  const holes = [...progress.holes];
  if (filterSubject === undefined && holes.length === 0) return;
  const { streams, consumers } = await nats.connection.jetstreamManager({ checkAPI: false });
  const info = await streams.info(stream);
  // Made again under its name: the durable is gone with the old one, and the session ends by itself.
  if (!creationOf(info).equals(streamCreatedAt)) return;
  if (filterSubject === undefined) {
    for (const hole of holes) if (hole.to <= droppedUpTo(info)) reportGap(context, hole);
  } else {
    const { num_pending, num_ack_pending } = await consumers.info(stream, durable);
    if (num_pending + num_ack_pending === 0) progress.skipTo(info.state.last_seq);
  }
  progress.forgetHoles(holes.length);
}

function reportGap({ options, metrics }: ConsumerContext, { from, to }: Span, lastReadAt?: Temporal.Instant): void {
  const { stream, durable, filterSubject, log } = options;
  metrics.gaps.inc({ consumer: durable });
  const facts = {
    ...{ stream, consumer: durable, from, to, repair: `npm run events:replay -- --stream ${stream}` },
    ...(filterSubject === undefined ? { messages: to - from + 1 } : { filterSubject }),
    ...(lastReadAt === undefined ? {} : { lastReadAt: lastReadAt.toString() }),
  };
  const what =
    filterSubject === undefined ? "dropped messages" : "dropped messages, among them perhaps some of this filter,";
  log.error(facts, `the stream ${what} before the consumer read them; the repair publishes them again`);
}
