import { z } from "zod";
import type { Connection } from "#platform/postgres/pool.ts";
import { sql, zInstant } from "#platform/postgres/sql.ts";

const detailRow = z.strictObject({
  state: z.enum(["active", "inactive", "closed"]),
  isProvisional: z.boolean(),
  thresholdPercent: z.number(),
  quotaSource: z.enum(["default", "admin", "import"]),
  quotaActorId: z.string().nullable(),
  quotaReason: z.string().nullable(),
  quotaSetAt: zInstant,
  createdAt: zInstant,
});
export type AccountDetail = z.output<typeof detailRow>;

export function readDetail(db: Connection, userId: string): Promise<AccountDetail> {
  return db.one(sql.type(detailRow)`
    select state, is_provisional as "isProvisional", threshold_percent as "thresholdPercent",
      quota_source as "quotaSource", quota_actor_id as "quotaActorId", quota_reason as "quotaReason",
      quota_set_at as "quotaSetAt", created_at as "createdAt"
    from user_quota.accounts where user_id = ${userId}`);
}

/** What follows in this transaction reads one snapshot. */
export async function readOneSnapshot(tx: Connection): Promise<void> {
  await tx.query(sql.unsafe`set transaction isolation level repeatable read, read only`);
}
