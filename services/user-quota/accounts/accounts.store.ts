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
  zInt8,
  zUuid,
} from "#platform/postgres/sql.ts";
import { thresholds } from "../ledger/thresholds.ts";
import type { Account } from "./account.ts";

const accountRow = z.strictObject({
  userId: zUuid,
  usedBytes: zInt8,
  reservedBytes: zInt8,
  quotaBytes: zInt8,
  openingBytes: zInt8,
  lastEntryId: zInt8,
  eventVersion: zInt8,
  userVersion: zInt8,
  thresholdPercent: z.number(),
  state: z.enum(["active", "inactive", "closed"]),
  isProvisional: z.boolean(),
  quotaSource: z.enum(["default", "admin", "import"]),
});

/**
 * Opens those accounts that are missing, provisionally: their registration turns them into ordinary ones. In the order of
 * their ids, so that two transactions wait for each other one way only.
 */
export async function openAccounts(
  tx: Connection,
  userIds: readonly string[],
  opening: { quotaBytes: bigint; at: Temporal.Instant },
): Promise<void> {
  await tx.query(sql.unsafe`
    insert into user_quota.accounts (user_id, storage_quota_bytes, is_provisional, quota_set_at, created_at)
    select user_id, ${opening.quotaBytes}, true, ${instant(opening.at)}, ${instant(opening.at)}
    from unnest(${uuidArray(userIds)}) as new (user_id)
    where not exists (select from user_quota.accounts where accounts.user_id = new.user_id)
    order by user_id
    on conflict (user_id) do nothing`);
}

export function hasAccount(db: Connection, userId: string): Promise<boolean> {
  return db.exists(sql.unsafe`select from user_quota.accounts where user_id = ${userId}`);
}

/** Locks accounts in the order of their ids. Everything that belongs to them is theirs until the transaction ends. */
export function lockAccounts(tx: Connection, userIds: readonly string[]): Promise<readonly Account[]> {
  return tx.any(sql.type(accountRow)`
    select user_id as "userId", storage_used_bytes as "usedBytes", storage_reserved_bytes as "reservedBytes",
      storage_quota_bytes as "quotaBytes", opening_bytes as "openingBytes", last_entry_id as "lastEntryId",
      event_version as "eventVersion", user_version as "userVersion", threshold_percent as "thresholdPercent",
      state, is_provisional as "isProvisional", quota_source as "quotaSource"
    from user_quota.accounts
    where user_id = any(${uuidArray(userIds)})
    order by user_id
    for update`);
}

/**
 * As lockAccounts, for facts, which open what is missing. Nearly all accounts are there, so locking comes first; the rare
 * deadlock that this order allows between three transactions that open the same accounts is retried by the pool.
 */
export async function lockOrOpenAccounts(
  tx: Connection,
  userIds: readonly string[],
  opening: { quotaBytes: bigint; at: Temporal.Instant },
): Promise<readonly Account[]> {
  const accounts = await lockAccounts(tx, userIds);
  if (accounts.length === userIds.length) return accounts;
  await openAccounts(tx, userIds, opening);
  return lockAccounts(tx, userIds);
}

export async function lockAccount(tx: Connection, userId: string): Promise<Account | undefined> {
  const [account] = await lockAccounts(tx, [userId]);
  return account;
}

/**
 * Writes the counters of locked accounts, all in one statement. The ids are given twice: by the array PostgreSQL reads the
 * index once in its order, for the join alone it descends it for each row, or scans the table.
 */
export async function saveBalances(tx: Connection, accounts: readonly Account[]): Promise<void> {
  if (accounts.length === 0) return;
  const userIds = uuidArray(accounts.map((account) => account.userId));
  await tx.query(sql.unsafe`
    update user_quota.accounts
    set storage_used_bytes = new.used_bytes, storage_reserved_bytes = new.reserved_bytes,
      last_entry_id = new.last_entry_id, event_version = new.event_version, threshold_percent = new.threshold_percent
    from unnest(
      ${userIds},
      ${int8Array(accounts.map((account) => account.usedBytes))},
      ${int8Array(accounts.map((account) => account.reservedBytes))},
      ${int8Array(accounts.map((account) => account.lastEntryId))},
      ${int8Array(accounts.map((account) => account.eventVersion))},
      ${int4Array(accounts.map((account) => account.thresholdPercent))}
    ) as new (user_id, used_bytes, reserved_bytes, last_entry_id, event_version, threshold_percent)
    where accounts.user_id = new.user_id and accounts.user_id = any(${userIds})`);
}

/** Writes what user.* events decide besides the counters. */
export async function saveLifecycles(tx: Connection, accounts: readonly Account[]): Promise<void> {
  if (accounts.length === 0) return;
  await tx.query(sql.unsafe`
    update user_quota.accounts
    set state = new.state, is_provisional = new.is_provisional, user_version = new.user_version,
      opening_bytes = new.opening_bytes
    from unnest(
      ${uuidArray(accounts.map((account) => account.userId))},
      ${textArray(accounts.map((account) => account.state))},
      ${boolArray(accounts.map((account) => account.isProvisional))},
      ${int8Array(accounts.map((account) => account.userVersion))},
      ${int8Array(accounts.map((account) => account.openingBytes))}
    ) as new (user_id, state, is_provisional, user_version, opening_bytes)
    where accounts.user_id = new.user_id`);
}

/** An admin's limit. */
export async function saveQuota(
  tx: Connection,
  account: Account,
  origin: { actorId: string; reason: string; at: Temporal.Instant },
): Promise<void> {
  await tx.query(sql.unsafe`
    update user_quota.accounts
    set storage_quota_bytes = ${account.quotaBytes}, quota_source = 'admin', quota_actor_id = ${origin.actorId},
      quota_reason = ${origin.reason}, quota_set_at = ${instant(origin.at)}
    where user_id = ${account.userId}`);
}

/** The limits that imported users came with. */
export async function saveImportedQuotas(
  tx: Connection,
  accounts: readonly Account[],
  at: Temporal.Instant,
): Promise<void> {
  if (accounts.length === 0) return;
  await tx.query(sql.unsafe`
    update user_quota.accounts
    set storage_quota_bytes = new.quota_bytes, quota_source = 'import', quota_set_at = ${instant(at)}
    from unnest(
      ${uuidArray(accounts.map((account) => account.userId))},
      ${int8Array(accounts.map((account) => account.quotaBytes))}
    ) as new (user_id, quota_bytes)
    where accounts.user_id = new.user_id`);
}

const quotaRow = z.strictObject({ userId: zUuid, usedBytes: zInt8, reservedBytes: zInt8, quotaBytes: zInt8 });
export type QuotaRow = z.output<typeof quotaRow>;

/** Reads overdue reservations as what they are: nothing, whether or not someone has folded them out. */
const quotaColumns = (now: Temporal.Instant) => sql.fragment`
  user_id as "userId", storage_used_bytes as "usedBytes", storage_quota_bytes as "quotaBytes",
  storage_reserved_bytes - (
    select coalesce(sum(held_bytes), 0)::bigint from user_quota.reservations
    where reservations.user_id = accounts.user_id and state in ('held', 'closing') and expires_at <= ${instant(now)}
  ) as "reservedBytes"`;

export function readQuota(db: Connection, userId: string, now: Temporal.Instant): Promise<QuotaRow | null> {
  return db.maybeOne(sql.type(quotaRow)`
    select ${quotaColumns(now)} from user_quota.accounts where user_id = ${userId}`);
}

export interface AccountFilter {
  readonly onlyOverQuota: boolean;
  readonly minUsedPercent: number;
  readonly after: string | undefined;
  readonly limit: number;
}

/** A page of accounts by user_id. A limit of 0 counts as used up by the first byte. */
export function listQuotas(db: Connection, filter: AccountFilter, now: Temporal.Instant): Promise<readonly QuotaRow[]> {
  const overQuota = filter.onlyOverQuota ? sql.fragment`and is_over_quota` : sql.fragment``;
  const after = filter.after === undefined ? sql.fragment`` : sql.fragment`and user_id > ${filter.after}`;
  return db.any(sql.type(quotaRow)`
    select ${quotaColumns(now)} from user_quota.accounts
    where true ${overQuota} ${usedAtLeast(filter.minUsedPercent)} ${after}
    order by user_id
    limit ${filter.limit}`);
}

function usedAtLeast(percent: number) {
  if (percent === 0) return sql.fragment``;
  // Says nothing new, but has an index: whoever has used as much as the lowest threshold has crossed it.
  const crossed = percent >= Math.min(...thresholds) ? sql.fragment`and threshold_percent > 0` : sql.fragment``;
  return sql.fragment`
    and storage_used_bytes > 0 ${crossed}
    and storage_used_bytes::numeric * 100 >= storage_quota_bytes::numeric * ${percent}`;
}
