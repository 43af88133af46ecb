import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { instant, sql, zInstant, zInt8 } from "#platform/postgres/sql.ts";

const zEpoch = z.strictObject({ epoch: zInt8 });
const zTaken = z.strictObject({ holder: z.string(), expires_at: zInstant });

/** Times are the database's, since several processes compare them. */
function untilExpiry(ttlMs: number) {
  return sql.fragment`clock_timestamp() + ${ttlMs} * interval '1 millisecond'`;
}

/**
 * A number that no other taking has, also where a server that is promoted has lost the last of them: counting on from what
 * it knows would give the deposed leader's epoch to the next one, and both would lead. Microseconds stay below 2^53.
 */
const newEpoch = sql.fragment`(extract(epoch from clock_timestamp()) * 1000000)::int8`;

/**
 * Takes the lease where it is free, expired, held by `deadHolder`, or not renewed since it was seen to end at `unrenewed`;
 * each taking raises the epoch, so that whatever an earlier holder still does can be told apart. Answers the new epoch.
 */
export async function acquireLease(
  db: Connection,
  schema: string,
  lease: {
    name: string;
    holder: string;
    ttlMs: number;
    deadHolder: string | undefined;
    unrenewed: Temporal.Instant | undefined;
  },
): Promise<bigint | undefined> {
  const row = await db.maybeOne(sql.type(zEpoch)`
    insert into ${sql.identifier([schema, "leases"])} as held (name, holder, epoch, expires_at)
    values (${lease.name}, ${lease.holder}::uuid, ${newEpoch}, ${untilExpiry(lease.ttlMs)})
    on conflict (name) do update
      set holder = excluded.holder, epoch = greatest(held.epoch + 1, excluded.epoch), expires_at = excluded.expires_at
      where held.expires_at < clock_timestamp() or held.holder = ${lease.deadHolder ?? null}::uuid
        ${lease.unrenewed === undefined ? sql.fragment`` : sql.fragment`or held.expires_at = ${instant(lease.unrenewed)}`}
    returning epoch`);
  return row?.epoch;
}

export interface TakenLease {
  readonly holder: string;
  readonly expiresAt: Temporal.Instant;
}

export async function takenLease(db: Connection, schema: string, name: string): Promise<TakenLease | undefined> {
  const row = await db.maybeOne(sql.type(zTaken)`
    select holder, expires_at from ${sql.identifier([schema, "leases"])} where name = ${name}`);
  return row === null ? undefined : { holder: row.holder, expiresAt: row.expires_at };
}

/** False when somebody else has taken the lease since. */
export async function renewLease(
  db: Connection,
  schema: string,
  lease: { name: string; epoch: bigint; ttlMs: number },
): Promise<boolean> {
  const row = await db.maybeOne(sql.type(zEpoch)`
    update ${sql.identifier([schema, "leases"])} set expires_at = ${untilExpiry(lease.ttlMs)}
    where name = ${lease.name} and epoch = ${lease.epoch}
    returning epoch`);
  return row !== null;
}

/** Lets the next candidate in at once. */
export async function releaseLease(db: Connection, schema: string, name: string, epoch: bigint): Promise<void> {
  await db.query(sql.type(zEpoch)`
    update ${sql.identifier([schema, "leases"])} set expires_at = clock_timestamp() - interval '1 second'
    where name = ${name} and epoch = ${epoch}
    returning epoch`);
}

/**
 * Whether this epoch still leads. The row stays share-locked until the transaction ends, so nobody can take the lease
 * between this check and the commit: what a deposed leader writes is refused, not raced.
 */
export async function assertLeader(tx: Transaction, schema: string, name: string, epoch: bigint): Promise<boolean> {
  const row = await tx.maybeOne(sql.type(zEpoch)`
    select epoch from ${sql.identifier([schema, "leases"])}
    where name = ${name} and epoch = ${epoch} for share`);
  return row !== null;
}
