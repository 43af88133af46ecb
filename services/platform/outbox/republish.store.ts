import { z } from "zod";
import type { Connection, Pool } from "#platform/postgres/pool.ts";
import { instant, sql, textArray, zInstant, zInt8 } from "#platform/postgres/sql.ts";
import { preferIndexOrder, RELAY_LEASE } from "./relay.store.ts";

const zKnownStream = z.strictObject({ created_at: zInstant, last_sequence: zInt8 });

/** What the relay last knew of a stream: an earlier creation, or more messages, mean that the stream lost events. */
export async function knownStream(
  db: Connection,
  schema: string,
  stream: string,
): Promise<{ createdAt: Temporal.Instant; lastSequence: bigint } | undefined> {
  const row = await db.maybeOne(sql.type(zKnownStream)`
    select created_at, last_sequence from ${sql.identifier([schema, "outbox_streams"])} where stream = ${stream}`);
  return row === null ? undefined : { createdAt: row.created_at, lastSequence: row.last_sequence };
}

/** False when this epoch does not lead any more. */
export async function rememberStream(
  db: Connection,
  schema: string,
  epoch: bigint,
  known: { stream: string; createdAt: Temporal.Instant; lastSequence: bigint },
): Promise<boolean> {
  const row = await db.maybeOne(sql.type(zKnownStream)`
    insert into ${sql.identifier([schema, "outbox_streams"])} as streams (stream, created_at, last_sequence)
    select ${known.stream}, ${instant(known.createdAt)}, ${known.lastSequence}
    from ${sql.identifier([schema, "leases"])} where name = ${RELAY_LEASE} and epoch = ${epoch} for share
    on conflict (stream) do update
      set created_at = excluded.created_at, last_sequence = excluded.last_sequence
    returning streams.created_at, streams.last_sequence`);
  return row !== null;
}

export interface RepublishFilter {
  /** Beginnings of subjects; all without it. */
  prefixes?: readonly string[];
  /** Only events that the stream stored behind this sequence. */
  afterSequence?: bigint;
  /** Only events made at or after this time. */
  since?: Temporal.Instant;
}

const zMoved = z.strictObject({ last_id: zInt8.nullable(), moved: zInt8 });

/**
 * Takes the published mark off the next `limit` matching rows behind `afterId`, in the order of ids, so that the relay
 * publishes them again; answers the last id, or undefined when none is left.
 */
export async function unpublish(
  pool: Pool,
  schema: string,
  filter: RepublishFilter,
  page: { afterId: bigint; limit: number },
): Promise<{ lastId: bigint; moved: number } | undefined> {
  const { prefixes, afterSequence, since } = filter;
  const none = sql.fragment``;
  const statement = sql.type(zMoved)`
    with page as (
      select id, created_at from ${sql.identifier([schema, "outbox"])}
      where published_at is not null and id > ${page.afterId}
        ${
          prefixes === undefined
            ? none
            : sql.fragment`and exists (
                select from unnest(${textArray(prefixes)}) as wanted (prefix) where starts_with(subject, prefix))`
        }
        ${afterSequence === undefined ? none : sql.fragment`and stream_sequence > ${afterSequence}`}
        ${since === undefined ? none : sql.fragment`and created_at >= ${instant(since)}`}
      order by id limit ${page.limit}
    ), moved as (
      update ${sql.identifier([schema, "outbox"])} as outbox
      set published_at = null, stream_sequence = null
      from page where outbox.id = page.id and outbox.created_at = page.created_at
      returning outbox.id
    )
    select max(id) as last_id, count(*) as moved from moved`;
  const { last_id, moved } = await pool.transaction(async (tx) => {
    await preferIndexOrder(tx);
    return await tx.one(statement);
  });
  return last_id === null ? undefined : { lastId: last_id, moved: Number(moved) };
}
