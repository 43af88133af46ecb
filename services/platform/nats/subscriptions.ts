import { AckPolicy, type ConsumerConfig, type ConsumerInfo, DeliverPolicy } from "nats";
import type { Nats } from "./connect.ts";
import type { StreamName } from "./streams.ts";

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
  isListening: boolean;
}

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
  const { consumers } = await nats.connection.jetstreamManager({ checkAPI: false });
  const from: Partial<ConsumerConfig> =
    since === undefined
      ? { deliver_policy: DeliverPolicy.All }
      : { deliver_policy: DeliverPolicy.StartTime, opt_start_time: since.toString() };
  const info = await consumers.add(stream, {
    durable_name: `${prefix}${name}`,
    deliver_subject: deliverSubjectOf(name),
    ack_policy: AckPolicy.None,
    ...(filterSubject === undefined ? {} : { filter_subject: filterSubject }),
    ...from,
  });
  return subscriptionFrom(stream, info);
}

export async function listSubscriptions(nats: Nats, stream: StreamName): Promise<Subscription[]> {
  const { consumers } = await nats.connection.jetstreamManager({ checkAPI: false });
  const found: Subscription[] = [];
  for await (const info of consumers.list(stream)) {
    if (info.name.startsWith(prefix)) found.push(subscriptionFrom(stream, info));
  }
  return found;
}

export async function removeSubscription(nats: Nats, stream: StreamName, name: string): Promise<void> {
  const { consumers } = await nats.connection.jetstreamManager({ checkAPI: false });
  await consumers.delete(stream, `${prefix}${name}`);
}

function deliverSubjectOf(name: string): string {
  return `_INBOX.subscription.${name}`;
}

function subscriptionFrom(stream: StreamName, info: ConsumerInfo): Subscription {
  const name = info.name.slice(prefix.length);
  return {
    name,
    stream,
    deliverSubject: deliverSubjectOf(name),
    filterSubject: info.config.filter_subject || undefined,
    pending: info.num_pending,
    isListening: info.push_bound ?? false,
  };
}
