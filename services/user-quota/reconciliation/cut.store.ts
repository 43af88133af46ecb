import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zInt8, zUuid } from "#platform/postgres/sql.ts";

const cutRow = z.strictObject({ appliedPosition: zInt8, chargedBytes: zInt8 });

/** How many of a user's newest entries can be later than a cut: far more than arrive while it is compared. */
const NEWEST_ENTRIES = 100_000;

/**
 * What was charged to a user, imports left out, as of a position of node-registry's outbox: what was posted later than the
 * cut is taken off again. `appliedPosition` tells how far the events were applied in the same snapshot.
 */
export function readCut(
  db: Connection,
  of: { userId: string; source: string; position: bigint },
): Promise<z.output<typeof cutRow> | null> {
  return db.maybeOne(sql.type(cutRow)`
    select coalesce((select position from user_quota.consumed_positions where source = ${of.source}), 0) as "appliedPosition",
      storage_used_bytes - opening_bytes - (
        select coalesce(sum(delta_bytes), 0)::bigint
        from (
          select delta_bytes, source_position, kind from user_quota.ledger_entries
          where ledger_entries.user_id = accounts.user_id
          order by entry_id desc
          limit ${NEWEST_ENTRIES}
        ) as newest
        where source_position > ${of.position} and kind <> 'opening'
      ) as "chargedBytes"
    from user_quota.accounts
    where user_id = ${of.userId}`);
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
