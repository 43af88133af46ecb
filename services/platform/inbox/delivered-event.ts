import { MalformedEnvelopeError } from "#platform/events/envelope.ts";
import { envelopeOf } from "#platform/events/received-envelope.ts";
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
    const { subject, data: payload } = delivery.message;
    const streamSequence = BigInt(delivery.streamSequence);
    return {
      ...envelopeOf(delivery.message),
      subject,
      payload,
      streamSequence,
      deliveries: delivery.deliveries,
      delivery,
    };
  } catch (error) {
    if (error instanceof MalformedEnvelopeError) return { delivery, error };
    throw error;
  }
}
