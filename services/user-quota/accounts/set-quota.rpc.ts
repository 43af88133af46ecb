import type { MethodImpl } from "@connectrpc/connect";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { callerOf, userCallerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { accountClosed, accountNotFound } from "../errors.ts";
import { writeJournal } from "../ledger/journal.event.ts";
import { newJournal, post } from "../ledger/posting.ts";
import { createJournalReport } from "../ledger/report.ts";
import { lockAccount, readQuota, saveBalances, saveQuota } from "./accounts.store.ts";
import { toProtoQuota } from "./to-proto.ts";

export function setQuota(deps: Deps): MethodImpl<typeof UserQuotaService.method.setQuota> {
  const report = createJournalReport(deps);
  return async ({ userId, storageQuotaBytes, reason }, context) => {
    validate((check) => {
      check.uuid("user_id", userId);
      check.int("storage_quota_bytes", storageQuotaBytes, { min: 0 });
      check.text("reason", reason, { min: 1, max: 500 });
    });
    const actorId = userCallerOf(context).userId;
    const outcome = await transact(deps, (tx) =>
      changeLimit(deps, tx, { userId, quotaBytes: storageQuotaBytes, reason, actorId }),
    );
    if (outcome === "missing") throw accountNotFound(callerOf(context));
    if (outcome === "closed") throw accountClosed();
    report(outcome.journal);
    return { quota: toProtoQuota(outcome.quota) };
  };
}

async function changeLimit(
  deps: Deps,
  tx: Transaction,
  limit: { userId: string; quotaBytes: bigint; reason: string; actorId: string },
) {
  const { userId, quotaBytes, reason, actorId } = limit;
  const at = deps.clock.now();
  const account = await lockAccount(tx, userId);
  if (account === undefined) return "missing";
  if (account.state === "closed") return "closed";
  const journal = newJournal({ actorId, reason, at });
  if (account.quotaBytes !== quotaBytes) {
    const after = { ...account, ...post(journal, account, { deltaBytes: 0n, quotaBytes }, { kind: "quota_change" }) };
    await saveBalances(tx, [after]);
    await saveQuota(tx, after, { actorId, reason, at });
    await writeJournal(deps, tx, journal);
  }
  const quota = await readQuota(tx, account.userId, at);
  return quota === null ? "missing" : { quota, journal };
}
