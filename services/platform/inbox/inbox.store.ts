import { z } from "zod";
import type { Transaction } from "#platform/postgres/pool.ts";
import { instantArray, sql, uuidArray, zUuid } from "#platform/postgres/sql.ts";
import type { ReceivedEvent } from "./received-event.ts";

const zInserted = z.strictObject({ is_leader: z.boolean(), event_ids: z.array(zUuid) });

export interface InboxConsumer {
  name: string;
  /** The lease under which it consumes, and the epoch that it got. */
  lease: string;
  epoch: bigint;
}

/**
 * Inserts what this consumer has not applied yet, and answers the ids of those; undefined, and nothing inserted, when
 * another process consumes by now. The lease stays share-locked until the transaction ends, so that this cannot change
 * before the commit. A concurrent inserter of the same event is waited for.
 */
export async function insertNew(
  tx: Transaction,
  schema: string,
  consumer: InboxConsumer,
  events: readonly ReceivedEvent[],
): Promise<ReadonlySet<string> | undefined> {
  // Sorted, so that two transactions with the same events cannot deadlock.
  const sorted = events.toSorted((a, b) => (a.eventId < b.eventId ? -1 : 1));
  const { is_leader, event_ids } = await tx.one(sql.type(zInserted)`
    with leader as materialized (
      select epoch from ${sql.identifier([schema, "leases"])}
      where name = ${consumer.lease} and epoch = ${consumer.epoch} for share
    ), inserted as (
      insert into ${sql.identifier([schema, "inbox"])} (consumer, event_id, event_time)
      select ${consumer.name}, event_id, event_time
      from unnest(
        ${uuidArray(sorted.map((event) => event.eventId))},
        ${instantArray(sorted.map((event) => event.time))}
      ) as event (event_id, event_time)
      where exists (select from leader)
      on conflict do nothing
      returning event_id
    )
    select exists (select from leader) as is_leader, array(select event_id from inserted) as event_ids`);
  return is_leader ? new Set(event_ids) : undefined;
}
