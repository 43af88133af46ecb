import { sealedHeaders } from "#platform/events/sealed-headers.ts";
import type { Publication } from "#platform/nats/publisher.ts";
import { streamOf } from "#platform/nats/streams.ts";
import type { OutboxRow } from "./relay.store.ts";

/** The message that an outbox row becomes. Every repeat is the same, so consumers and broker can tell it by its id. */
export function publicationOf(row: OutboxRow, source: string): Publication {
  const { traceparent } = row;
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
