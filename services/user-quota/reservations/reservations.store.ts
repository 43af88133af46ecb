import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { instant, int8Array, sql, textArray, uuidArray, zInstant, zInt8, zUuid } from "#platform/postgres/sql.ts";
import type { Reservation } from "./reservation.ts";

const reservationRow = z.strictObject({
  reservationId: zUuid,
  userId: zUuid,
  clientId: z.string(),
  idempotencyKey: z.string(),
  sizeBytes: zInt8,
  postedBytes: zInt8,
  heldBytes: zInt8,
  expectedBytes: zInt8.nullable(),
  state: z.enum(["held", "closing", "closed", "released", "expired"]),
  createdAt: zInstant,
  expiresAt: zInstant,
});

const columns = sql.fragment`
  reservation_id as "reservationId", user_id as "userId", client_id as "clientId",
  idempotency_key as "idempotencyKey", size_bytes as "sizeBytes", posted_bytes as "postedBytes",
  held_bytes as "heldBytes", expected_bytes as "expectedBytes", state, created_at as "createdAt",
  expires_at as "expiresAt"`;

export function findReservation(db: Connection, reservationId: string): Promise<Reservation | null> {
  return db.maybeOne(sql.type(reservationRow)`
    select ${columns} from user_quota.reservations where reservation_id = ${reservationId}`);
}

/** To be called under the locks of the users' accounts, which guard their reservations. */
export function loadReservations(tx: Connection, ids: readonly string[]): Promise<readonly Reservation[]> {
  if (ids.length === 0) return Promise.resolve([]);
  return tx.any(sql.type(reservationRow)`
    select ${columns} from user_quota.reservations where reservation_id = any(${uuidArray(ids)})`);
}

export interface ReservationKey {
  readonly userId: string;
  readonly clientId: string;
  readonly idempotencyKey: string;
}

/** Under the account's lock: the reservation that was made with this key before, if any. */
export function findByKey(tx: Connection, key: ReservationKey): Promise<Reservation | null> {
  return tx.maybeOne(sql.type(reservationRow)`
    select ${columns} from user_quota.reservations
    where user_id = ${key.userId} and client_id = ${key.clientId} and idempotency_key = ${key.idempotencyKey}`);
}

const freedRow = z.strictObject({ freedBytes: zInt8 });

/** Under the account's lock: expires the account's overdue reservations and tells what they held. */
export async function foldOverdue(tx: Connection, userId: string, now: Temporal.Instant): Promise<bigint> {
  const { freedBytes } = await tx.one(sql.type(freedRow)`
    with overdue as (
      select reservation_id, held_bytes from user_quota.reservations
      where user_id = ${userId} and state in ('held', 'closing') and expires_at <= ${instant(now)}
    ), expired as (
      update user_quota.reservations set state = 'expired', held_bytes = 0, closed_at = ${instant(now)}
      from overdue where reservations.reservation_id = overdue.reservation_id
    )
    select coalesce(sum(held_bytes), 0)::bigint as "freedBytes" from overdue`);
  return freedBytes;
}

const reservedRow = z.strictObject({ isReserved: z.boolean() });

/** One round trip for the ordinary case; false where the answer needs a closer look, and then nothing has changed. */
export async function tryReserve(db: Connection, reservation: Reservation): Promise<boolean> {
  const { reservationId, userId, clientId, idempotencyKey, sizeBytes, createdAt, expiresAt } = reservation;
  const { isReserved } = await db.one(sql.type(reservedRow)`
    select user_quota.try_reserve(
      ${reservationId}::uuid, ${userId}::uuid, ${clientId}, ${idempotencyKey}, ${sizeBytes}::bigint,
      ${instant(createdAt)}, ${instant(expiresAt)}
    ) as "isReserved"`);
  return isReserved;
}

/** Inserts a reservation and adds what it holds, less what was freed, to its locked account. */
export async function insertReservation(tx: Connection, reservation: Reservation, freedBytes: bigint): Promise<void> {
  await tx.query(sql.unsafe`
    with reservation as (
      insert into user_quota.reservations
        (reservation_id, user_id, client_id, idempotency_key, size_bytes, held_bytes, created_at, expires_at)
      values (${reservation.reservationId}, ${reservation.userId}, ${reservation.clientId},
        ${reservation.idempotencyKey}, ${reservation.sizeBytes}, ${reservation.heldBytes},
        ${instant(reservation.createdAt)}, ${instant(reservation.expiresAt)})
    )
    update user_quota.accounts
    set storage_reserved_bytes = storage_reserved_bytes + ${reservation.heldBytes}::bigint - ${freedBytes}::bigint
    where user_id = ${reservation.userId}`);
}

/** Takes freed bytes off the reserved ones of a locked account. */
export async function freeBytes(tx: Connection, userId: string, freedBytes: bigint): Promise<void> {
  if (freedBytes === 0n) return;
  await tx.query(sql.unsafe`
    update user_quota.accounts set storage_reserved_bytes = storage_reserved_bytes - ${freedBytes}::bigint
    where user_id = ${userId}`);
}

const overdueRow = z.strictObject({ userId: zUuid, overdue: z.bigint() });

/** Users with reservations whose time is over, and how many of these: of `limit` reservations, the longest overdue. */
export function usersWithOverdue(db: Connection, now: Temporal.Instant, limit: number) {
  return db.any(sql.type(overdueRow)`
    select user_id as "userId", count(*) as overdue from (
      select user_id from user_quota.reservations
      where state in ('held', 'closing') and expires_at <= ${instant(now)}
      order by expires_at
      limit ${limit}
    ) as overdue
    group by user_id
    order by user_id`);
}

/** Expires the overdue reservations of locked accounts and takes what they held off the reserved bytes. */
export async function foldOverdueOf(tx: Connection, userIds: readonly string[], now: Temporal.Instant): Promise<void> {
  await tx.query(sql.unsafe`
    with overdue as (
      select reservation_id, user_id, held_bytes from user_quota.reservations
      where user_id = any(${uuidArray(userIds)}) and state in ('held', 'closing') and expires_at <= ${instant(now)}
    ), expired as (
      update user_quota.reservations set state = 'expired', held_bytes = 0, closed_at = ${instant(now)}
      from overdue where reservations.reservation_id = overdue.reservation_id
    ), freed as (
      select user_id, sum(held_bytes)::bigint as bytes from overdue group by user_id
    )
    update user_quota.accounts set storage_reserved_bytes = storage_reserved_bytes - freed.bytes
    from freed where accounts.user_id = freed.user_id`);
}

/**
 * Deletes reservations that ended before `cutoff`, the longest ended first, and returns how many. They need no lock of
 * their account: an ended reservation holds nothing and never changes again.
 */
export async function deleteEnded(db: Connection, cutoff: Temporal.Instant, limit: number): Promise<number> {
  const { rowCount } = await db.query(sql.unsafe`
    delete from user_quota.reservations
    where reservation_id = any(array(
      select reservation_id from user_quota.reservations
      where closed_at is not null and closed_at < ${instant(cutoff)}
      order by closed_at
      limit ${limit}
    ))`);
  return rowCount;
}

const countRow = z.strictObject({ living: z.bigint() });

/** The reservations that hold something, first to expire first, and how many there are in all. */
export async function listLiving(
  db: Connection,
  of: { userId: string; limit: number },
  now: Temporal.Instant,
): Promise<{ reservations: readonly Reservation[]; total: number }> {
  const living = sql.fragment`
    user_id = ${of.userId} and state in ('held', 'closing') and held_bytes > 0 and expires_at > ${instant(now)}`;
  const reservations = await db.any(sql.type(reservationRow)`
    select ${columns} from user_quota.reservations where ${living}
    order by expires_at, reservation_id
    limit ${of.limit}`);
  const row = await db.one(sql.type(countRow)`
    select count(*) as living from user_quota.reservations where ${living}`);
  return { reservations, total: Number(row.living) };
}

/** Writes reservations of locked accounts, all in one statement; the ids are given twice for the planner's sake. */
export async function saveReservations(
  tx: Connection,
  reservations: readonly Reservation[],
  now: Temporal.Instant,
): Promise<void> {
  if (reservations.length === 0) return;
  const ids = uuidArray(reservations.map((reservation) => reservation.reservationId));
  await tx.query(sql.unsafe`
    update user_quota.reservations
    set posted_bytes = new.posted_bytes, held_bytes = new.held_bytes, expected_bytes = new.expected_bytes,
      state = new.state,
      closed_at = case when new.state in ('held', 'closing') then null else coalesce(closed_at, ${instant(now)}) end
    from unnest(
      ${ids},
      ${int8Array(reservations.map((reservation) => reservation.postedBytes))},
      ${int8Array(reservations.map((reservation) => reservation.heldBytes))},
      ${int8Array(reservations.map((reservation) => reservation.expectedBytes))},
      ${textArray(reservations.map((reservation) => reservation.state))}
    ) as new (reservation_id, posted_bytes, held_bytes, expected_bytes, state)
    where reservations.reservation_id = new.reservation_id and reservations.reservation_id = any(${ids})`);
}
