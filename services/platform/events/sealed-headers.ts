import { type MsgHdrs, headers as newHeaders } from "nats";
import type { Envelope } from "./envelope.ts";

/**
 * The same headers as `envelopeHeaders`, already encoded, for hot paths: 1 µs instead of 4. They can be published and
 * nothing else. The client encodes headers by this method of its own objects; a test keeps us to what it does.
 */
export function sealedHeaders(envelope: Envelope, expectedStream?: string): MsgHdrs {
  const { eventId, type, source, key, keyVersion, sequence, time, traceparent } = envelope;
  if (/[\r\n]/.test(`${eventId}${type}${source}${key}${traceparent ?? ""}`)) {
    throw new TypeError("a header value contains a line break");
  }
  const text =
    `NATS/1.0\r\nNats-Msg-Id: ${eventId}\r\nce-specversion: 1.0\r\nce-id: ${eventId}\r\nce-type: ${type}\r\n` +
    `ce-source: ${source}\r\nce-subject: ${key}\r\nce-time: ${textOf(time)}\r\nce-sequence: ${sequence}\r\n` +
    `ce-keyversion: ${keyVersion}\r\ncontent-type: application/protobuf\r\n` +
    (traceparent === undefined ? "" : `traceparent: ${traceparent}\r\n`) +
    (expectedStream === undefined ? "" : `Nats-Expected-Stream: ${expectedStream}\r\n`);
  const bytes = Buffer.from(`${text}\r\n`);
  return Object.assign(newHeaders(), { encode: () => bytes });
}

let latestTime: { readonly time: Temporal.Instant; readonly text: string } | undefined;

/** The events of one transaction share their time. */
function textOf(time: Temporal.Instant): string {
  if (latestTime?.time !== time) latestTime = { time, text: time.toString() };
  return latestTime.text;
}
