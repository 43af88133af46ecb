import { z } from "zod";
import type { Connection, Transaction } from "#platform/postgres/pool.ts";
import { sql, zInt8 } from "#platform/postgres/sql.ts";

const zEpoch = z.strictObject({ epoch: zInt8 });
const zHolder = z.strictObject({ holder: z.string() });

/** Times are the database's, since several processes compare them. */
function untilExpiry(ttlMs: number) {
  return sql.fragment`clock_timestamp() + ${ttlMs} * interval '1 millisecond'`;
}

/**
 * Takes the lease where it is free, expired, or held by `deadHolder`; each taking raises the epoch, so that whatever an
 * earlier holder still does can be told apart. Answers the new epoch.
 */
export async function acquireLease(
  db: Connection,
  schema: string,
  lease: { name: string; holder: string; ttlMs: number; deadHolder: string | undefined },
): Promise<bigint | undefined> {
  const row = await db.maybeOne(sql.type(zEpoch)`
    insert into ${sql.identifier([schema, "leases"])} as held (name, holder, epoch, expires_at)
    values (${lease.name}, ${lease.holder}::uuid, 1, ${untilExpiry(lease.ttlMs)})
    on conflict (name) do update
      set holder = excluded.holder, epoch = held.epoch + 1, expires_at = excluded.expires_at
      where held.expires_at < clock_timestamp() or held.holder = ${lease.deadHolder ?? null}::uuid
    returning epoch`);
  return row?.epoch;
}

export async function holderOfLease(db: Connection, schema: string, name: string): Promise<string | undefined> {
  const row = await db.maybeOne(sql.type(zHolder)`
    select holder from ${sql.identifier([schema, "leases"])} where name = ${name}`);
  return row?.holder;
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
