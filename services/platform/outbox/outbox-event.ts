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

/** An event as it is stored, under the names of its columns. */
export interface OutboxRow {
  readonly id: bigint;
  readonly event_id: string;
  readonly subject: string;
  readonly key: string;
  readonly key_version: bigint;
  readonly type: string;
  readonly payload: Uint8Array;
  readonly traceparent: string | null;
  readonly created_at: Temporal.Instant;
}
