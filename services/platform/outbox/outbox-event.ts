/** A domain event, ready to be stored beside the change that it tells of. */
export interface OutboxEvent {
  eventId: string;
  /** The whole NATS subject, with the `decentrastore.` prefix. */
  subject: string;
  /** The aggregate's id: events of one key are delivered in the order in which they were appended. */
  key: string;
  /** The aggregate's own counter: 1 first, without gaps. */
  keyVersion: bigint;
  /** Full name of the protobuf message. */
  type: string;
  payload: Uint8Array;
  /** W3C trace context of the request that caused it. */
  traceparent?: string;
}
