import type { Nats } from "#platform/nats/connect.ts";
import type { StreamName } from "#platform/nats/streams.ts";
import type { Clock } from "#platform/time/clock.ts";

/**
 * A stream that was just made again may be getting what the outbox still holds: the relay compares the streams every few
 * seconds, see `watchStreams`.
 */
const SETTLED_MS = 60_000;

/**
 * Whether a durable consumer has nothing left to do: all that lay in its stream when this was called is applied, or was
 * given up. False in doubt: where the broker does not answer, the stream or the consumer is missing, or the stream is
 * less than a minute old.
 */
export async function hasConsumedAll(
  { nats, clock }: { readonly nats: Nats; readonly clock: Clock },
  { stream, durable }: { readonly stream: StreamName; readonly durable: string },
): Promise<boolean> {
  const { consumers, streams } = await nats.connection.jetstreamManager({ checkAPI: false });
  const [streamNow, consumerNow] = await Promise.allSettled([streams.info(stream), consumers.info(stream, durable)]);
  if (streamNow.status === "rejected" || consumerNow.status === "rejected") return false;
  const madeAt = Temporal.Instant.from(streamNow.value.created);
  if (clock.now().since(madeAt).total("milliseconds") < SETTLED_MS) return false;
  const { num_pending, num_ack_pending } = consumerNow.value;
  return num_pending + num_ack_pending === 0;
}
