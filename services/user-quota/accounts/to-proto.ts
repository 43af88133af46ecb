import type { MessageInitShape } from "@bufbuild/protobuf";
import type { QuotaSchema } from "#gen/decentrastore/user_quota/v1/quota_pb.ts";

export interface QuotaFigures {
  readonly userId: string;
  readonly usedBytes: bigint;
  readonly reservedBytes: bigint;
  readonly quotaBytes: bigint;
}

export function toProtoQuota(quota: QuotaFigures): MessageInitShape<typeof QuotaSchema> {
  return {
    userId: quota.userId,
    storageUsedBytes: quota.usedBytes,
    storageReservedBytes: quota.reservedBytes,
    storageQuotaBytes: quota.quotaBytes,
    isOverQuota: quota.usedBytes > quota.quotaBytes,
  };
}
