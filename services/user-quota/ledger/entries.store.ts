import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import {
  boolArray,
  instant,
  int4Array,
  int8Array,
  sql,
  textArray,
  uuidArray,
  zInstant,
  zInt8,
  zUuid,
} from "#platform/postgres/sql.ts";
import type { Journal, LedgerEntry } from "./posting.ts";

/** Appends a journal's entries; the accounts that they belong to are locked, so their numbers are free. */
export async function appendEntries(tx: Connection, journal: Journal): Promise<void> {
  const { entries } = journal;
  if (entries.length === 0) return;
  const uuids = (of: (entry: LedgerEntry) => string | undefined) => uuidArray(entries.map((one) => of(one) ?? null));
  await tx.query(sql.unsafe`
    insert into user_quota.ledger_entries (
      user_id, entry_id, kind, delta_bytes, used_before_bytes, used_after_bytes, storage_quota_bytes, is_anomaly,
      chunk_hash, generation, event_id, source_position, upload_id, reservation_id, actor_id, reason, created_at
    )
    select user_id, entry_id, kind, delta_bytes, used_before_bytes, used_before_bytes + delta_bytes, storage_quota_bytes,
      is_anomaly, decode(chunk_hash, 'hex'), generation, event_id, source_position, upload_id, reservation_id,
      ${journal.actorId}, ${journal.reason ?? null}, ${instant(journal.at)}
    from unnest(
      ${uuidArray(entries.map((entry) => entry.userId))},
      ${int8Array(entries.map((entry) => entry.entryId))},
      ${textArray(entries.map((entry) => entry.kind))},
      ${int8Array(entries.map((entry) => entry.deltaBytes))},
      ${int8Array(entries.map((entry) => entry.usedBeforeBytes))},
      ${int8Array(entries.map((entry) => entry.quotaBytes))},
      ${boolArray(entries.map((entry) => entry.isAnomaly))},
      ${textArray(entries.map((entry) => entry.chunkHash ?? null))},
      ${int4Array(entries.map((entry) => entry.generation ?? null))},
      ${uuids((entry) => entry.eventId)},
      ${int8Array(entries.map((entry) => entry.sourcePosition ?? null))},
      ${uuids((entry) => entry.uploadId)},
      ${uuids((entry) => entry.reservationId)}
    ) as entry (
      user_id, entry_id, kind, delta_bytes, used_before_bytes, storage_quota_bytes, is_anomaly, chunk_hash, generation,
      event_id, source_position, upload_id, reservation_id
    )
    order by user_id, entry_id`);
}

/** PostgreSQL's null is our undefined. */
const nullable = <T extends z.ZodType>(type: T) => type.nullable().transform((value) => value ?? undefined);

const entryRow = z.strictObject({
  userId: zUuid,
  entryId: zInt8,
  kind: z.enum(["opening", "charge", "late_charge", "refund", "adjustment", "quota_change"]),
  deltaBytes: zInt8,
  usedBeforeBytes: zInt8,
  usedAfterBytes: zInt8,
  quotaBytes: zInt8,
  isAnomaly: z.boolean(),
  chunkHash: nullable(z.string()),
  generation: nullable(z.number()),
  eventId: nullable(zUuid),
  uploadId: nullable(zUuid),
  reservationId: nullable(zUuid),
  actorId: z.string(),
  reason: nullable(z.string()),
  createdAt: zInstant,
});

export type PostedEntry = z.output<typeof entryRow>;

/** A page of a user's entries, newest first. */
export function listEntries(
  db: Connection,
  of: { userId: string; before: bigint | undefined; limit: number },
): Promise<readonly PostedEntry[]> {
  const before = of.before === undefined ? sql.fragment`` : sql.fragment`and entry_id < ${of.before}`;
  return db.any(sql.type(entryRow)`
    select user_id as "userId", entry_id as "entryId", kind, delta_bytes as "deltaBytes",
      used_before_bytes as "usedBeforeBytes", used_after_bytes as "usedAfterBytes", storage_quota_bytes as "quotaBytes",
      is_anomaly as "isAnomaly", encode(chunk_hash, 'hex') as "chunkHash", generation, event_id as "eventId",
      upload_id as "uploadId", reservation_id as "reservationId", actor_id as "actorId", reason, created_at as "createdAt"
    from user_quota.ledger_entries
    where user_id = ${of.userId} ${before}
    order by entry_id desc
    limit ${of.limit}`);
}
