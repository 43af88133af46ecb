import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { byteaArray, int8Array, sql, textArray, uuidArray, zInstant } from "#platform/postgres/sql.ts";
import type { OutboxEvent, OutboxRow } from "./outbox-event.ts";

const zInserted = z.strictObject({ ids: z.string(), created_at: zInstant });

/**
 * Inserts in the order of the array, in one statement: `with ordinality` fixes the order in which ids are drawn, and the
 * id order is the delivery order within a key. Answers the rows as they are stored.
 */
export async function insertOutboxRows(
  tx: Connection,
  schema: string,
  events: readonly OutboxEvent[],
): Promise<OutboxRow[]> {
  const inserted = await tx.one(sql.prepared(`${schema}.insert_outbox_rows`, zInserted)`
    with inserted as (
      insert into ${sql.identifier([schema, "outbox"])} (event_id, subject, key, key_version, type, payload, traceparent)
      select event_id, subject, key, key_version, type, payload, traceparent
      from unnest(
        ${uuidArray(events.map((event) => event.eventId))},
        ${textArray(events.map((event) => event.subject))},
        ${textArray(events.map((event) => event.key))},
        ${int8Array(events.map((event) => event.keyVersion))},
        ${textArray(events.map((event) => event.type))},
        ${byteaArray(events.map((event) => event.payload))},
        ${textArray(events.map((event) => event.traceparent ?? null))}
      ) with ordinality as event (event_id, subject, key, key_version, type, payload, traceparent, position)
      order by position
      returning id, created_at
    )
    select string_agg(id::text, ',' order by id) as ids, min(created_at) as created_at from inserted`);
  // Drawn in their order, and so in the order of the events.
  const ids = inserted.ids.split(",");
  return events.map((event, index) => ({
    id: BigInt(ids[index] ?? ""),
    event_id: event.eventId,
    subject: event.subject,
    key: event.key,
    key_version: event.keyVersion,
    type: event.type,
    payload: event.payload,
    traceparent: event.traceparent ?? null,
    created_at: inserted.created_at,
  }));
}
