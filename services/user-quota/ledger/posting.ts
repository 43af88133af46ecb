import { crossingOf, type Threshold } from "./thresholds.ts";

export type EntryKind = "opening" | "charge" | "late_charge" | "refund" | "adjustment" | "quota_change";

/** The part of an account that a posting reads and changes. */
export interface Balance {
  readonly userId: string;
  readonly usedBytes: bigint;
  readonly quotaBytes: bigint;
  readonly thresholdPercent: number;
  readonly lastEntryId: bigint;
  readonly eventVersion: bigint;
}

export interface EntryCause {
  readonly kind: EntryKind;
  readonly eventId?: string | undefined;
  /** Outbox id of that event at its source. */
  readonly sourcePosition?: bigint | undefined;
  readonly chunkHash?: string | undefined;
  readonly generation?: number | undefined;
  readonly uploadId?: string | undefined;
  readonly reservationId?: string | undefined;
}

export interface LedgerEntry extends EntryCause {
  readonly userId: string;
  readonly entryId: bigint;
  readonly deltaBytes: bigint;
  readonly usedBeforeBytes: bigint;
  readonly usedAfterBytes: bigint;
  readonly quotaBytes: bigint;
  readonly isAnomaly: boolean;
}

/** A threshold that was crossed, to be announced under the account's next event version. */
export interface CrossedThreshold {
  readonly userId: string;
  readonly eventVersion: bigint;
  readonly thresholdPercent: Threshold;
  readonly usedBytes: bigint;
  readonly quotaBytes: bigint;
}

/** Who posts, when and why: the same for everything that one transaction writes. */
export interface PostedBy {
  /** A user_id for an admin's call, otherwise the name of a service. */
  readonly actorId: string;
  readonly at: Temporal.Instant;
  /** The reason that an admin gave; entries that an event caused have none. */
  readonly reason?: string;
}

/** What a transaction is going to write: entries and announcements in the order in which they came about. */
export interface Journal extends PostedBy {
  readonly entries: LedgerEntry[];
  readonly crossings: CrossedThreshold[];
}

export function newJournal(posted: PostedBy): Journal {
  return { ...posted, entries: [], crossings: [] };
}

export interface Change {
  readonly deltaBytes: bigint;
  /** The new limit, where the change sets one. */
  readonly quotaBytes?: bigint;
}

/**
 * Posts one change: writes its entry and the thresholds that it crosses into the journal, and returns the balance after it.
 * Nothing is refused or clamped: a change that takes the use below zero is posted as it is and marked as an anomaly.
 */
export function post(journal: Journal, balance: Balance, change: Change, cause: EntryCause): Balance {
  const usedBytes = balance.usedBytes + change.deltaBytes;
  const quotaBytes = change.quotaBytes ?? balance.quotaBytes;
  const entryId = balance.lastEntryId + 1n;
  journal.entries.push({
    ...cause,
    userId: balance.userId,
    entryId,
    deltaBytes: change.deltaBytes,
    usedBeforeBytes: balance.usedBytes,
    usedAfterBytes: usedBytes,
    quotaBytes,
    isAnomaly: usedBytes < 0n && change.deltaBytes < 0n,
  });
  const { level, crossed } = crossingOf(balance.thresholdPercent, usedBytes, quotaBytes);
  let eventVersion = balance.eventVersion;
  for (const thresholdPercent of crossed) {
    eventVersion += 1n;
    journal.crossings.push({ userId: balance.userId, eventVersion, thresholdPercent, usedBytes, quotaBytes });
  }
  return { userId: balance.userId, usedBytes, quotaBytes, thresholdPercent: level, lastEntryId: entryId, eventVersion };
}
