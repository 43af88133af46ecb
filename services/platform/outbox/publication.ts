import { sealedHeaders } from "#platform/events/sealed-headers.ts";
import type { Publication } from "#platform/nats/publisher.ts";
import { streamOf } from "#platform/nats/streams.ts";
import type { OutboxRow } from "./outbox-event.ts";

/** Words without wildcards; with a space in it the server takes the rest for something else and cuts the connection. */
const SUBJECT = /^[^\s.*>]+(?:\.[^\s.*>]+)*$/;

/**
 * The message that an outbox row becomes. Every repeat is the same, so consumers and broker can tell it by its id.
 * Undefined for a row that no message can be made of.
 */
export function publicationOf(row: OutboxRow, source: string): Publication | undefined {
  const { traceparent } = row;
  if (!SUBJECT.test(row.subject) || /[\r\n]/.test(`${row.key}${row.type}${traceparent ?? ""}`)) return undefined;
  const envelope = {
    eventId: row.event_id,
    type: row.type,
    source,
    key: row.key,
    keyVersion: row.key_version,
    sequence: row.id,
    time: row.created_at,
    ...(traceparent === null ? {} : { traceparent }),
  };
  const headers = sealedHeaders(envelope, streamOf(row.subject));
  return { subject: row.subject, payload: row.payload, headers };
}

/** `ce-source` of a schema's events: schema `user_quota` belongs to the service `user-quota`. */
export function sourceOf(schema: string): string {
  return `/decentrastore/${schema.replaceAll("_", "-")}`;
}
