import { QuotaThresholdSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { newEvent, type Outbox, type OutboxEvent } from "#platform/outbox/outbox.ts";
import type { Connection } from "#platform/postgres/pool.ts";
import type { Clock } from "#platform/time/clock.ts";
import { appendEntries } from "./entries.store.ts";
import type { CrossedThreshold, Journal } from "./posting.ts";

/** Writes the ledger entries and announces the crossed thresholds, in the transaction that changes the accounts. */
export async function writeJournal(
  deps: { outbox: Outbox; clock: Clock },
  tx: Connection,
  journal: Journal,
): Promise<void> {
  await appendEntries(tx, journal);
  await deps.outbox.append(
    tx,
    journal.crossings.map((crossing) => quotaThreshold(crossing, deps.clock)),
  );
}

function quotaThreshold(crossing: CrossedThreshold, clock: Clock): OutboxEvent {
  const { userId, eventVersion, thresholdPercent, usedBytes, quotaBytes } = crossing;
  return newEvent(
    QuotaThresholdSchema,
    { subject: `decentrastore.quota.threshold.${userId}`, key: userId, keyVersion: eventVersion, clock },
    { userId, thresholdPercent, storageUsedBytes: usedBytes, storageQuotaBytes: quotaBytes },
  );
}
