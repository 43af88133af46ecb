import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, uuidArray, zInt8, zUuid } from "#platform/postgres/sql.ts";

const proofRow = z.strictObject({
  userId: zUuid,
  usedBytes: zInt8,
  ledgerBytes: zInt8,
  reservedBytes: zInt8,
  heldBytes: zInt8,
  lastEntryId: zInt8,
  entries: zInt8,
});
/** The counters of an account beside what they must agree with. */
export type BalanceProof = z.output<typeof proofRow>;

/** One statement, one snapshot: no lock is needed to compare counters with what they count. */
export function proveBalances(db: Connection, userIds: readonly string[]): Promise<readonly BalanceProof[]> {
  return db.any(sql.type(proofRow)`
    select user_id as "userId", storage_used_bytes as "usedBytes", ledger.bytes as "ledgerBytes",
      storage_reserved_bytes as "reservedBytes", held.bytes as "heldBytes", last_entry_id as "lastEntryId",
      ledger.entries
    from user_quota.accounts
    cross join lateral (
      select coalesce(sum(delta_bytes), 0)::bigint as bytes, count(*) as entries
      from user_quota.ledger_entries where ledger_entries.user_id = accounts.user_id
    ) as ledger
    cross join lateral (
      select coalesce(sum(held_bytes), 0)::bigint as bytes
      from user_quota.reservations where reservations.user_id = accounts.user_id and state in ('held', 'closing')
    ) as held
    where user_id = any(${uuidArray(userIds)})
    order by user_id`);
}
