import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zInt8, zUuid } from "#platform/postgres/sql.ts";

/** Where a user's ledger is compared with what node-registry says. */
export interface Cut {
  readonly userId: string;
  /** The position of node-registry's outbox at which its sums were taken. */
  readonly position: bigint;
  /** The user's last entry before node-registry was asked. */
  readonly lastEntryId: bigint;
}

const lastEntryRow = z.strictObject({ lastEntryId: zInt8 });

/** The number of a user's last entry; undefined without an account. */
export async function readLastEntryId(db: Connection, userId: string): Promise<bigint | undefined> {
  const row = await db.maybeOne(sql.type(lastEntryRow)`
    select last_entry_id as "lastEntryId" from user_quota.accounts where user_id = ${userId}`);
  return row?.lastEntryId;
}

const cutRow = z.strictObject({ chargedBytes: zInt8 });

/**
 * What was charged to a user, imports left out, as of a cut: of what was posted since node-registry was asked, that which
 * its sums do not have yet is taken off again.
 *
 * What was posted before it was asked is in its sums, also where its position is lower: its outbox forgets events a week
 * after they were published, and then the highest that it knows may be an old one, or none.
 */
export async function readCut(db: Connection, { userId, position, lastEntryId }: Cut): Promise<bigint | undefined> {
  const row = await db.maybeOne(sql.type(cutRow)`
    select storage_used_bytes - opening_bytes - (
        select coalesce(sum(delta_bytes), 0)::bigint from user_quota.ledger_entries
        where ledger_entries.user_id = accounts.user_id and entry_id > ${lastEntryId}
          and source_position > ${position} and kind <> 'opening'
      ) as "chargedBytes"
    from user_quota.accounts
    where user_id = ${userId}`);
  return row?.chargedBytes;
}

const userRow = z.strictObject({ userId: zUuid });

/** Accounts drawn at random, by blocks of the table as long as it is large: no scan of everything. */
export async function sampleAccounts(db: Connection, size: number): Promise<string[]> {
  const estimate = await db.oneFirst(sql.type(z.strictObject({ rows: z.number() }))`
    select reltuples::float8 as rows from pg_class where oid = 'user_quota.accounts'::regclass`);
  // Before the first analyze the estimate is -1; several times the sample, because blocks are drawn and not rows.
  const percent = estimate <= size * 50 ? 100 : Math.min(100, (size * 50 * 100) / estimate);
  const rows = await db.any(sql.type(userRow)`
    select user_id as "userId" from (
      select user_id from user_quota.accounts tablesample system (${percent})
    ) as drawn
    order by random()
    limit ${size}`);
  return rows.map((row) => row.userId);
}
