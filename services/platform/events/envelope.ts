import { type MsgHdrs, headers as newHeaders } from "nats";

/** What every event carries besides its payload: CloudEvents 1.0 attributes in binary mode, as NATS headers. */
export interface Envelope {
  eventId: string;
  /** Full name of the protobuf message. */
  type: string;
  /** `/decentrastore/<service>` */
  source: string;
  /** The aggregate's id (`ce-subject`). */
  key: string;
  keyVersion: bigint;
  /** The outbox id: rises within one source, with gaps. */
  sequence: bigint;
  time: Temporal.Instant;
  traceparent?: string;
  /** An operator put the event back into its stream, for one consumer that had given up the message under that number. */
  requeue?: { readonly consumer: string; readonly streamSequence: bigint };
}

/** The event does not carry the headers that every event must carry, so it can never be applied. */
export class MalformedEnvelopeError extends Error {
  override readonly name = "MalformedEnvelopeError";
}

/** `Nats-Msg-Id` is the event id: a repeat within the stream's duplicate window is acknowledged, but not stored again. */
export function envelopeHeaders(envelope: Envelope): MsgHdrs {
  const all = newHeaders();
  all.set("Nats-Msg-Id", envelope.eventId);
  all.set("ce-specversion", "1.0");
  all.set("ce-id", envelope.eventId);
  all.set("ce-type", envelope.type);
  all.set("ce-source", envelope.source);
  all.set("ce-subject", envelope.key);
  all.set("ce-time", envelope.time.toString());
  all.set("ce-sequence", envelope.sequence.toString());
  all.set("ce-keyversion", envelope.keyVersion.toString());
  all.set("content-type", "application/protobuf");
  if (envelope.traceparent !== undefined) all.set("traceparent", envelope.traceparent);
  if (envelope.requeue !== undefined) {
    all.set("requeued-for", envelope.requeue.consumer);
    all.set("requeued-sequence", envelope.requeue.streamSequence.toString());
  }
  return all;
}

/** The reverse of `envelopeHeaders`. Throws MalformedEnvelopeError, which names the header. */
export function envelopeFrom(all: MsgHdrs | undefined): Envelope {
  // One pass: each `get` of the client goes through all names.
  const values = new Map<string, string[]>(all);
  const traceparent = values.get("traceparent")?.[0];
  const requeuedFor = values.get("requeued-for")?.[0];
  return {
    // As PostgreSQL gives it back: the inbox compares by it which events of a batch are new.
    eventId: required(values, "ce-id", uuidPattern).toLowerCase(),
    type: required(values, "ce-type"),
    source: required(values, "ce-source"),
    key: required(values, "ce-subject"),
    keyVersion: BigInt(required(values, "ce-keyversion", integerPattern)),
    sequence: BigInt(required(values, "ce-sequence", integerPattern)),
    time: instantFrom(required(values, "ce-time")),
    ...(traceparent ? { traceparent } : {}),
    ...(requeuedFor ? { requeue: requeueFrom(requeuedFor, values) } : {}),
  };
}

function requeueFrom(consumer: string, values: ReadonlyMap<string, string[]>) {
  return { consumer, streamSequence: BigInt(required(values, "requeued-sequence", integerPattern)) };
}

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const integerPattern = /^-?\d{1,18}$/;

function required(values: ReadonlyMap<string, string[]>, name: string, pattern?: RegExp): string {
  const value = values.get(name)?.[0] ?? "";
  if (value === "") throw new MalformedEnvelopeError(`header ${name} is missing`);
  if (pattern !== undefined && !pattern.test(value)) throw new MalformedEnvelopeError(`header ${name} is malformed`);
  return value;
}

/** Throws MalformedEnvelopeError where there is no such time. */
export function instantFrom(text: string): Temporal.Instant {
  try {
    return Temporal.Instant.from(text);
  } catch (cause) {
    throw new MalformedEnvelopeError("header ce-time is malformed", { cause });
  }
}
