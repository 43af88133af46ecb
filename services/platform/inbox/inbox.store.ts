import { z } from "zod";
import type { Transaction } from "#platform/postgres/pool.ts";
import { instantArray, sql, uuidArray, zUuid } from "#platform/postgres/sql.ts";
import type { ReceivedEvent } from "./received-event.ts";

const zInserted = z.strictObject({ event_id: zUuid });

/** Inserts what this consumer has not applied yet, and answers the ids of those; a concurrent inserter is waited for. */
export async function insertNew(
  tx: Transaction,
  schema: string,
  consumer: string,
  events: readonly ReceivedEvent[],
): Promise<ReadonlySet<string>> {
  // Sorted, so that two transactions with the same events cannot deadlock.
  const sorted = events.toSorted((a, b) => (a.eventId < b.eventId ? -1 : 1));
  const rows = await tx.any(sql.type(zInserted)`
    insert into ${sql.identifier([schema, "inbox"])} (consumer, event_id, event_time)
    select ${consumer}, event_id, event_time
    from unnest(
      ${uuidArray(sorted.map((event) => event.eventId))},
      ${instantArray(sorted.map((event) => event.time))}
    ) as event (event_id, event_time)
    on conflict do nothing
    returning event_id`);
  return new Set(rows.map((row) => row.event_id));
}
