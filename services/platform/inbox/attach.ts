import { AckPolicy, type ConsumerConfig, DeliverPolicy, nanos } from "nats";
import type { Nats } from "#platform/nats/connect.ts";
import { creationOf, droppedUpTo, jetStreamErrorCode, type StreamName } from "#platform/nats/streams.ts";

const CONSUMER_NOT_FOUND = 10014;
/** More than a relay has in flight or in memory: see below. */
const OVERLAP = 5_000;

/** A stream and its durable as they were found. */
export interface Attached {
  readonly streamCreatedAt: Temporal.Instant;
  /** The last number that the stream gave away, and the highest below the messages that it still holds. */
  readonly last: number;
  readonly droppedUpTo: number;
  /** Up to where the broker saw the durable's messages acknowledged, or has dropped them since. */
  readonly floor: number | undefined;
}

/**
 * Sets the durable consumer up so that it delivers, in stream order, everything that is not acknowledged.
 *
 * A durable that exists is made again from its acknowledgement floor. What its last user held unacknowledged would
 * otherwise come only after `ack_wait`, behind newer events of the same key. It starts a little before the floor: a
 * broker that lost its tail in a crash gets that tail published again, in a slightly different order, under sequences
 * that the durable believes to have acknowledged. The inbox drops what was applied before.
 *
 * One user at a time, which the caller's lease sees to. A stream that is not there yet makes it throw (10059).
 */
export async function attachDurable(
  nats: Nats,
  target: { stream: StreamName; durable: string; filterSubject?: string; maxAckPending: number },
): Promise<Attached> {
  const { stream, durable, filterSubject, maxAckPending } = target;
  const { consumers, streams } = await nats.connection.jetstreamManager({ checkAPI: false });
  const floor = await acknowledgedUpTo(consumers.info(stream, durable));
  if (floor !== undefined) await consumers.delete(stream, durable);
  const start = Math.max(1, (floor ?? 0) + 1 - OVERLAP);
  // One that fell back behind the floor is read from its start.
  const info = await streams.info(stream);
  const { state } = info;
  const from: Partial<ConsumerConfig> =
    start === 1 || start > state.last_seq + 1
      ? { deliver_policy: DeliverPolicy.All }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: start };
  await consumers.add(stream, {
    durable_name: durable,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(60_000),
    max_deliver: -1,
    max_ack_pending: maxAckPending,
    ...(filterSubject === undefined ? {} : { filter_subject: filterSubject }),
    ...from,
  });
  return { streamCreatedAt: creationOf(info), last: state.last_seq, droppedUpTo: droppedUpTo(info), floor };
}

async function acknowledgedUpTo(asking: Promise<{ ack_floor: { stream_seq: number } }>): Promise<number | undefined> {
  try {
    return (await asking).ack_floor.stream_seq;
  } catch (error) {
    if (jetStreamErrorCode(error) === CONSUMER_NOT_FOUND) return undefined;
    throw error;
  }
}
