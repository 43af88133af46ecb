import type { Nats } from "#platform/nats/connect.ts";
import type { StreamName } from "#platform/nats/streams.ts";
import type { Clock } from "#platform/time/clock.ts";

/**
 * A stream that was just made again may be getting what the outbox still holds: the relay compares the streams every few
 * seconds, see `watchStreams`.
 */
const SETTLED_MS = 30_000;

/** How far a durable consumer has come, in numbers of its stream. */
export interface Consumption {
  /** The stream's last message when this was asked. */
  readonly end: number;
  /** Everything up to this one is applied, or was given up; events that wait after a failure are not. */
  readonly applied: number;
}

/**
 * Whoever wants to know that a certain event is applied asks once after it was published, and again until `applied` has
 * come to the `end` of that time: under load there is always something that is not applied yet. Undefined in doubt: where
 * the broker does not answer, the stream or the consumer is missing, or the stream is less than half a minute old.
 */
export async function consumptionOf(
  { nats, clock }: { readonly nats: Nats; readonly clock: Clock },
  { stream, durable }: { readonly stream: StreamName; readonly durable: string },
): Promise<Consumption | undefined> {
  const { consumers, streams } = await nats.connection.jetstreamManager({ checkAPI: false });
  // The stream first: a consumer for which nothing is left has come to what was the end before it was asked.
  const streamNow = await streams.info(stream).catch(() => undefined);
  if (streamNow === undefined) return undefined;
  const madeAt = Temporal.Instant.from(streamNow.created);
  if (clock.now().since(madeAt).total("milliseconds") < SETTLED_MS) return undefined;
  const consumerNow = await consumers.info(stream, durable).catch(() => undefined);
  if (consumerNow === undefined) return undefined;
  const end = streamNow.state.last_seq;
  const { num_pending, num_ack_pending, ack_floor } = consumerNow;
  return { end, applied: num_pending + num_ack_pending === 0 ? end : Math.min(end, ack_floor.stream_seq) };
}
