/** An event as a consumer sees it: its envelope, its payload still encoded, and where it lies in the stream. */
export interface ReceivedEvent {
  eventId: string;
  /** Full name of the protobuf message; an unknown one is skipped by the consumer's `switch` (rolling upgrades). */
  type: string;
  subject: string;
  /** The aggregate's id. Events of one key arrive in the order of `keyVersion`. */
  key: string;
  keyVersion: bigint;
  /** The outbox id at the source: rises within one source, with gaps. */
  sequence: bigint;
  /** RFC 3339 in UTC, as the sender wrote it, and checked. */
  time: string;
  payload: Uint8Array;
  streamSequence: bigint;
  /** 1 at the first delivery. */
  deliveries: number;
  traceparent?: string;
  /** Put back into the stream for one consumer, which gave up the message that lay there under this number. */
  requeue?: { readonly consumer: string; readonly streamSequence: bigint };
}
