import type { MessageInitShape } from "@bufbuild/protobuf";
import { LedgerEntryKind, type LedgerEntrySchema } from "#gen/decentrastore/user_quota/v1/ledger_entry_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { PostedEntry } from "./entries.store.ts";

const protoKinds = {
  opening: LedgerEntryKind.OPENING,
  charge: LedgerEntryKind.CHARGE,
  late_charge: LedgerEntryKind.LATE_CHARGE,
  refund: LedgerEntryKind.REFUND,
  adjustment: LedgerEntryKind.ADJUSTMENT,
  quota_change: LedgerEntryKind.QUOTA_CHANGE,
} as const;

export function toProtoEntry(entry: PostedEntry): MessageInitShape<typeof LedgerEntrySchema> {
  return {
    ledgerEntryId: entry.entryId,
    userId: entry.userId,
    kind: protoKinds[entry.kind],
    deltaBytes: entry.deltaBytes,
    usedBeforeBytes: entry.usedBeforeBytes,
    usedAfterBytes: entry.usedAfterBytes,
    storageQuotaBytes: entry.quotaBytes,
    isOverQuota: entry.usedAfterBytes > entry.quotaBytes,
    isAnomaly: entry.isAnomaly,
    chunkHash: entry.chunkHash ?? "",
    generation: entry.generation ?? 0,
    uploadId: entry.uploadId ?? "",
    reservationId: entry.reservationId ?? "",
    eventId: entry.eventId ?? "",
    actorId: entry.actorId,
    reason: entry.reason ?? "",
    createdAt: toTimestamp(entry.createdAt),
  };
}
