import type { Connection } from "#platform/postgres/pool.ts";
import { byteaArray, int8Array, sql, textArray, uuidArray, zVoid } from "#platform/postgres/sql.ts";
import type { OutboxEvent } from "./outbox-event.ts";

/**
 * Inserts in the order of the array, in one statement: `with ordinality` fixes the order in which ids are drawn, and the
 * id order is the delivery order within a key.
 */
export async function insertOutboxRows(tx: Connection, schema: string, events: readonly OutboxEvent[]): Promise<void> {
  await tx.query(sql.prepared(`${schema}.insert_outbox_rows`, zVoid)`
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
    order by position`);
}
