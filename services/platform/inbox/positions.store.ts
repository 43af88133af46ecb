import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { instant, sql, zInstant, zInt8, zVoid } from "#platform/postgres/sql.ts";
import type { InboxConsumer } from "./inbox.store.ts";

/** Up to where a consumer has read a stream, which its creation tells from one that was made again under its name. */
export interface Position {
  streamCreatedAt: Temporal.Instant;
  readUpTo: number;
}

const zPosition = z.strictObject({ stream_created_at: zInstant, read_up_to: zInt8, read_at: zInstant });

export async function positionOf(
  db: Connection,
  schema: string,
  consumer: string,
): Promise<(Position & { readAt: Temporal.Instant }) | undefined> {
  const row = await db.maybeOne(sql.type(zPosition)`
    select stream_created_at, read_up_to, read_at from ${sql.identifier([schema, "inbox_positions"])}
    where consumer = ${consumer}`);
  if (row === null) return undefined;
  return { streamCreatedAt: row.stream_created_at, readUpTo: Number(row.read_up_to), readAt: row.read_at };
}

/** Nothing happens when another process consumes by now. */
export async function savePosition(
  db: Connection,
  schema: string,
  consumer: InboxConsumer,
  { streamCreatedAt, readUpTo }: Position,
): Promise<void> {
  await db.query(sql.type(zVoid)`
    insert into ${sql.identifier([schema, "inbox_positions"])} (consumer, stream_created_at, read_up_to)
    select ${consumer.name}, ${instant(streamCreatedAt)}, ${readUpTo}
    from ${sql.identifier([schema, "leases"])}
    where name = ${consumer.lease} and epoch = ${consumer.epoch} for share
    on conflict (consumer) do update
      set stream_created_at = excluded.stream_created_at, read_up_to = excluded.read_up_to, read_at = now()`);
}
