import { envelopeFrom, MalformedEnvelopeError } from "#platform/events/envelope.ts";
import type { Delivery } from "#platform/nats/pull.ts";
import type { ReceivedEvent } from "./received-event.ts";

/** An event together with the delivery that has to be acknowledged. */
export interface DeliveredEvent extends ReceivedEvent {
  readonly delivery: Delivery;
}

/** A message that is no event, since it lacks the headers that every event has. */
export interface UnreadableMessage {
  readonly delivery: Delivery;
  readonly error: MalformedEnvelopeError;
}

export function deliveredEvent(delivery: Delivery): DeliveredEvent | UnreadableMessage {
  try {
    const { headers, subject, data } = delivery.message;
    const { eventId, type, key, keyVersion, sequence, time, traceparent, requeue } = envelopeFrom(headers);
    return {
      ...{ eventId, type, subject, key, keyVersion, sequence, time, payload: data },
      ...(traceparent === undefined ? {} : { traceparent }),
      ...(requeue === undefined ? {} : { requeue }),
      streamSequence: BigInt(delivery.streamSequence),
      deliveries: delivery.deliveries,
      delivery,
    };
  } catch (error) {
    if (error instanceof MalformedEnvelopeError) return { delivery, error };
    throw error;
  }
}
