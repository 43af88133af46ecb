import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { instant, instantArray, int8Array, sql, uuidArray, zUuid, zVoid } from "#platform/postgres/sql.ts";
import type { ReceivedEvent } from "./received-event.ts";

const zInserted = z.strictObject({ is_leader: z.boolean(), event_ids: z.array(zUuid).nullable() });

export interface InboxConsumer {
  name: string;
  /** The lease under which it consumes, and the epoch that it got. */
  lease: string;
  epoch: bigint;
}

const leaderOf = (schema: string, consumer: InboxConsumer) => sql.fragment`
  select epoch from ${sql.identifier([schema, "leases"])}
  where name = ${consumer.lease} and epoch = ${consumer.epoch} for share`;

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
  // Nearly always everything is new, which a null says.
  const { is_leader, event_ids } = await tx.one(sql.type(zInserted)`
    with leader as materialized (${leaderOf(schema, consumer)}), inserted as (
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
    select exists (select from leader) as is_leader,
      case when (select count(*) from inserted) < ${sorted.length} then array(select event_id from inserted) end as event_ids`);
  if (!is_leader) return undefined;
  if (event_ids === null) return new Set(sorted.map((event) => event.eventId));
  const requeued = sorted.filter((event) => event.requeue?.consumer === consumer.name);
  return new Set([...event_ids, ...(await takeBack(tx, schema, consumer, requeued))]);
}

const zTakenBack = z.strictObject({ event_id: zUuid });

/** Of requeued events those that are still given up, and from now on are not: each return counts once. */
async function takeBack(
  tx: Transaction,
  schema: string,
  consumer: InboxConsumer,
  requeued: readonly ReceivedEvent[],
): Promise<string[]> {
  if (requeued.length === 0) return [];
  const rows = await tx.any(sql.type(zTakenBack)`
    update ${sql.identifier([schema, "inbox"])} as inbox set given_up_sequence = null
    from unnest(
      ${uuidArray(requeued.map((event) => event.eventId))},
      ${instantArray(requeued.map((event) => event.time))},
      ${int8Array(requeued.map((event) => event.requeue?.streamSequence ?? null))}
    ) as event (event_id, event_time, given_up_sequence)
    where inbox.consumer = ${consumer.name} and inbox.event_id = event.event_id
      and inbox.event_time = event.event_time and inbox.given_up_sequence = event.given_up_sequence
    returning inbox.event_id`);
  return rows.map((row) => row.event_id);
}

/**
 * Remembers that the consumer has given up an event, so that a redelivery does not apply it. What it has applied stays
 * applied, and nothing happens when another process consumes by now.
 */
export async function recordGivenUp(
  db: Connection,
  schema: string,
  consumer: InboxConsumer,
  event: ReceivedEvent,
): Promise<void> {
  await db.query(sql.type(zVoid)`
    with leader as materialized (${leaderOf(schema, consumer)})
    insert into ${sql.identifier([schema, "inbox"])} as inbox (consumer, event_id, event_time, given_up_sequence)
    select ${consumer.name}, ${event.eventId}, ${instant(event.time)}, ${event.streamSequence}::bigint from leader
    on conflict (consumer, event_id, event_time) do update set given_up_sequence = excluded.given_up_sequence
    where inbox.given_up_sequence is not null`);
}
