import { expect } from "vitest";
import { z } from "zod";
import type { Pool } from "#platform/postgres/pool.ts";
import { sql } from "#platform/postgres/sql.ts";

const violation = z.strictObject({ rule: z.string(), userId: z.string() });

/** What must hold between the tables after every commit, whatever happened. */
export async function expectSoundBooks(pool: Pool): Promise<void> {
  const violations = await pool.any(sql.type(violation)`
    with ledger as (
      select user_id, sum(delta_bytes) as bytes, count(*) as entries, max(entry_id) as last_id,
        sum(delta_bytes) filter (where kind = 'opening') as opening,
        sum(delta_bytes) filter (where kind in ('charge', 'late_charge', 'refund')) as chunks
      from user_quota.ledger_entries group by user_id
    ), living as (
      select user_id, sum(held_bytes) as held from user_quota.reservations group by user_id
    ), charged as (
      select user_id, sum(size_bytes) as bytes from user_quota.charges where state = 'charged' group by user_id
    ), links as (
      select user_id, entry_id, used_before_bytes,
        lag(used_after_bytes, 1, 0::bigint) over (partition by user_id order by entry_id) as before
      from user_quota.ledger_entries
    )
    select 'the ledger adds up to the use' as rule, user_id::text as "userId"
    from user_quota.accounts left join ledger using (user_id)
    where storage_used_bytes <> coalesce(ledger.bytes, 0)
    union all
    select 'entries are numbered without gaps', user_id::text
    from user_quota.accounts left join ledger using (user_id)
    where last_entry_id <> coalesce(entries, 0) or last_entry_id <> coalesce(last_id, 0)
    union all
    select 'each entry begins where the one before ended', user_id::text from links where used_before_bytes <> before
    union all
    select 'living charges are what chunks have added', user_id::text
    from ledger full join charged using (user_id)
    where coalesce(ledger.chunks, 0) <> coalesce(charged.bytes, 0)
    union all
    select 'holds add up to the reserved bytes', user_id::text
    from user_quota.accounts left join living using (user_id)
    where storage_reserved_bytes <> coalesce(living.held, 0)
    union all
    select 'the opening is what its entry says', user_id::text
    from user_quota.accounts left join ledger using (user_id)
    where opening_bytes <> coalesce(ledger.opening, 0)
    union all
    select 'events are numbered without gaps', user_id::text
    from user_quota.accounts left join (
      select key, count(*) as events, max(key_version) as last_version from user_quota.outbox group by key
    ) as outbox on key = user_id::text
    where event_version <> coalesce(events, 0) or event_version <> coalesce(last_version, 0)`);
  expect(violations).toEqual([]);
}

const threshold = z.strictObject({ percent: z.number() });

/** The thresholds that were announced for a user, in their order. */
export async function announcedThresholds(pool: Pool, userId: string): Promise<number[]> {
  const rows = await pool.any(sql.type(threshold)`
    select get_byte(payload, 39) as percent from user_quota.outbox where key = ${userId} order by key_version`);
  return rows.map((row) => row.percent);
}
