import { AckPolicy, type ConsumerConfig, type ConsumerInfo, DeliverPolicy, type StreamInfo } from "nats";
import type { Nats } from "./connect.ts";
import { droppedUpTo, type StreamName } from "./streams.ts";

const prefix = "subscription-";

/** A place in a stream that the broker remembers for a subscriber. */
export interface Subscription {
  name: string;
  stream: StreamName;
  /** Where the subscriber listens. */
  deliverSubject: string;
  filterSubject: string | undefined;
  /** Events that it has not been sent yet. */
  pending: number;
  /** Events that expired before they were sent; unknown with a filter. The broker forgets those that were purged. */
  dropped: number | undefined;
  isListening: boolean;
}

/** Where the consumer of a service stands, as far as the broker knows. */
export type ServicePlace = Pick<Subscription, "name" | "stream" | "pending" | "dropped">;

export interface NewSubscription {
  name: string;
  stream: StreamName;
  /** One subject with wildcards; the whole stream without it. */
  filterSubject?: string;
  /** From this time on; without it everything that the stream holds. */
  since?: Temporal.Instant;
}

/**
 * Makes a durable consumer for a subscriber. The subscriber may neither make one, nor ask one for messages, nor
 * acknowledge (with such rights it could harm the services' consumers), so this one sends by itself below `_INBOX`, as
 * long as somebody listens there, and goes on where it was when the subscriber comes back.
 */
export async function addSubscription(nats: Nats, wanted: NewSubscription): Promise<Subscription> {
  const { name, stream, filterSubject, since } = wanted;
  const from: Partial<ConsumerConfig> =
    since === undefined
      ? { deliver_policy: DeliverPolicy.All }
      : { deliver_policy: DeliverPolicy.StartTime, opt_start_time: since.toString() };
  const { consumers, streams } = await nats.connection.jetstreamManager({ checkAPI: false });
  const info = await consumers.add(stream, {
    durable_name: `${prefix}${name}`,
    deliver_subject: deliverSubjectOf(name),
    ack_policy: AckPolicy.None,
    ...(filterSubject === undefined ? {} : { filter_subject: filterSubject }),
    ...from,
  });
  return subscriptionFrom(stream, await streams.info(stream), info);
}

export async function listSubscriptions(nats: Nats, stream: StreamName): Promise<Subscription[]> {
  const { streamInfo, durables } = await durablesOf(nats, stream);
  const found = durables.filter(({ name }) => name.startsWith(prefix));
  return found.map((info) => subscriptionFrom(stream, streamInfo, info));
}

export async function listServicePlaces(nats: Nats, stream: StreamName): Promise<ServicePlace[]> {
  const { streamInfo, durables } = await durablesOf(nats, stream);
  const found = durables.filter(({ name }) => !name.startsWith(prefix));
  return found.map((info) => ({ name: info.name, stream, ...placeOf(streamInfo, info) }));
}

async function durablesOf(nats: Nats, stream: StreamName) {
  const { consumers, streams } = await nats.connection.jetstreamManager({ checkAPI: false });
  // The stream first: what expires meanwhile may have been sent meanwhile.
  const streamInfo = await streams.info(stream);
  const durables = (await Array.fromAsync(consumers.list(stream))).filter(
    ({ config }) => config.durable_name !== undefined,
  );
  return { streamInfo, durables };
}

export async function removeSubscription(nats: Nats, stream: StreamName, name: string): Promise<void> {
  const { consumers } = await nats.connection.jetstreamManager({ checkAPI: false });
  await consumers.delete(stream, `${prefix}${name}`);
}

function deliverSubjectOf(name: string): string {
  return `_INBOX.subscription.${name}`;
}

function placeOf(streamInfo: StreamInfo, { config, num_pending, delivered }: ConsumerInfo) {
  const dropped = config.filter_subject ? undefined : Math.max(0, droppedUpTo(streamInfo) - delivered.stream_seq);
  return { pending: num_pending, dropped };
}

function subscriptionFrom(stream: StreamName, streamInfo: StreamInfo, info: ConsumerInfo): Subscription {
  const name = info.name.slice(prefix.length);
  return {
    name,
    stream,
    deliverSubject: deliverSubjectOf(name),
    filterSubject: info.config.filter_subject || undefined,
    ...placeOf(streamInfo, info),
    isListening: info.push_bound ?? false,
  };
}
