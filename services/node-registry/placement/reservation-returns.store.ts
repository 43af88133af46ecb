import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { instant, sql, zInt8, zUuid, zVoid } from "#platform/postgres/sql.ts";
import type { AttemptKey } from "./attempts.store.ts";

export interface ReservationReturn extends AttemptKey {
  readonly userId: string;
  readonly sizeBytes: bigint;
  /** Null where the answer of ReserveStorage never came. */
  readonly reservationId: string | null;
}

/** Remembers that user-quota must get this reservation back, whatever happens to this process. */
export async function insertReturn(db: Connection, owed: ReservationReturn, dueAt: Temporal.Instant): Promise<void> {
  await db.query(sql.type(zVoid)`
    insert into node_registry.reservation_returns (upload_id, attempt, user_id, size_bytes, reservation_id, due_at)
    values (${owed.uploadId}::uuid, ${owed.attempt}, ${owed.userId}::uuid, ${owed.sizeBytes},
      ${owed.reservationId}::uuid, ${instant(dueAt)})
    on conflict (upload_id, attempt) do update
    set reservation_id = coalesce(excluded.reservation_id, reservation_returns.reservation_id)`);
}

export async function deleteReturn(db: Connection, { uploadId, attempt }: AttemptKey): Promise<void> {
  await db.query(sql.type(zVoid)`
    delete from node_registry.reservation_returns where upload_id = ${uploadId}::uuid and attempt = ${attempt}`);
}

export async function postponeReturn(
  db: Connection,
  { uploadId, attempt }: AttemptKey,
  dueAt: Temporal.Instant,
): Promise<void> {
  await db.query(sql.type(zVoid)`
    update node_registry.reservation_returns
    set due_at = ${instant(dueAt)}, tries = tries + 1
    where upload_id = ${uploadId}::uuid and attempt = ${attempt}`);
}

const zReturn = z.strictObject({
  upload_id: zUuid,
  attempt: z.int(),
  user_id: zUuid,
  size_bytes: zInt8,
  reservation_id: zUuid.nullable(),
  tries: z.int(),
});

/** Longer than any of them waits: what is dated later was dated by a wrong clock. */
const LONGEST = Temporal.Duration.from({ hours: 1 });

export async function readDueReturns(
  db: Connection,
  now: Temporal.Instant,
  limit: number,
): Promise<(ReservationReturn & { readonly tries: number })[]> {
  const rows = await db.any(sql.type(zReturn)`
    select upload_id, attempt, user_id, size_bytes, reservation_id, tries
    from node_registry.reservation_returns
    where due_at <= ${instant(now)} or due_at > ${instant(now.add(LONGEST))}
    order by due_at
    limit ${limit}`);
  return rows.map((row) => ({
    uploadId: row.upload_id,
    attempt: row.attempt,
    userId: row.user_id,
    sizeBytes: row.size_bytes,
    reservationId: row.reservation_id,
    tries: row.tries,
  }));
}
