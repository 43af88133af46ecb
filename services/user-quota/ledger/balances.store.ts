import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, uuidArray, zInt8, zUuid } from "#platform/postgres/sql.ts";

/**
 * Entries that one statement adds up. Those of one user lie apart from each other, a block each: from a cold disk these take
 * two seconds, where all of a user with millions of them would end at the statement timeout.
 */
const ENTRIES_PER_STATEMENT = 20_000n;

const countersRow = z.strictObject({
  userId: zUuid,
  usedBytes: zInt8,
  reservedBytes: zInt8,
  heldBytes: zInt8,
  lastEntryId: zInt8,
});
const sumRow = z.strictObject({ bytes: zInt8, entries: zInt8 });

/** The counters of an account beside what they must agree with. */
export interface BalanceProof extends z.output<typeof countersRow> {
  readonly ledgerBytes: bigint;
  readonly entries: bigint;
}

/**
 * The counters come from one snapshot. The entries that they stand for are those up to `lastEntryId`, and since no entry is
 * ever changed, they may be added up later and piece by piece, without a lock. `signal` ends it between two pieces, and what
 * is not complete by then is left out: a user with millions of entries takes longer than a process has to stop.
 */
export async function proveBalances(
  db: Connection,
  userIds: readonly string[],
  signal?: AbortSignal,
): Promise<readonly BalanceProof[]> {
  const proofs: BalanceProof[] = [];
  for (const counters of await readCounters(db, userIds)) {
    const { userId, lastEntryId } = counters;
    let [ledgerBytes, entries] = [0n, 0n];
    for (let after = 0n; after < lastEntryId; after += ENTRIES_PER_STATEMENT) {
      if (signal?.aborted === true) return proofs;
      const page = await sumEntries(db, userId, after, min(after + ENTRIES_PER_STATEMENT, lastEntryId));
      ledgerBytes += page.bytes;
      entries += page.entries;
    }
    proofs.push({ ...counters, ledgerBytes, entries });
  }
  return proofs;
}

function readCounters(db: Connection, userIds: readonly string[]) {
  return db.any(sql.type(countersRow)`
    select user_id as "userId", storage_used_bytes as "usedBytes", storage_reserved_bytes as "reservedBytes",
      held.bytes as "heldBytes", last_entry_id as "lastEntryId"
    from user_quota.accounts
    cross join lateral (
      select coalesce(sum(held_bytes), 0)::bigint as bytes
      from user_quota.reservations where reservations.user_id = accounts.user_id and state in ('held', 'closing')
    ) as held
    where user_id = any(${uuidArray(userIds)})
    order by user_id`);
}

function sumEntries(db: Connection, userId: string, after: bigint, upTo: bigint) {
  return db.one(sql.type(sumRow)`
    select coalesce(sum(delta_bytes), 0)::bigint as bytes, count(*) as entries
    from user_quota.ledger_entries
    where user_id = ${userId} and entry_id > ${after} and entry_id <= ${upTo}`);
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
