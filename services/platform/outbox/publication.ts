import { envelopeHeaders } from "#platform/events/envelope.ts";
import type { Publication } from "#platform/nats/publisher.ts";
import { streamOf } from "#platform/nats/streams.ts";
import type { OutboxRow } from "./relay.store.ts";

/** The message that an outbox row becomes. Every repeat is the same, so consumers and broker can tell it by its id. */
export function publicationOf(row: OutboxRow, source: string): Publication {
  const headers = envelopeHeaders({
    eventId: row.event_id,
    type: row.type,
    source,
    key: row.key,
    keyVersion: row.key_version,
    sequence: row.id,
    time: row.created_at,
    ...(row.traceparent === null ? {} : { traceparent: row.traceparent }),
  });
  const stream = streamOf(row.subject);
  if (stream !== undefined) headers.set("Nats-Expected-Stream", stream);
  return { subject: row.subject, payload: row.payload, headers };
}

/** `ce-source` of a schema's events: schema `user_quota` belongs to the service `user-quota`. */
export function sourceOf(schema: string): string {
  return `/decentrastore/${schema.replaceAll("_", "-")}`;
}
