import { Code, type MethodImpl } from "@connectrpc/connect";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { transact } from "#platform/outbox/outbox.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { callerOf, userCallerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import { lockAccount, readQuota, saveBalances } from "../accounts/accounts.store.ts";
import { toProtoQuota } from "../accounts/to-proto.ts";
import type { Deps } from "../deps.ts";
import { accountNotFound, quotaError } from "../errors.ts";
import { listEntries } from "../ledger/entries.store.ts";
import { writeJournal } from "../ledger/journal.event.ts";
import { newJournal, post } from "../ledger/posting.ts";
import { createJournalReport } from "../ledger/report.ts";
import { toProtoEntry } from "../ledger/to-proto.ts";
import type { Comparison } from "./compare.ts";
import { compareUsage } from "./compare-usage.worker.ts";
import { readCut } from "./cut.store.ts";

export function reconcileUsage(deps: Deps): MethodImpl<typeof UserQuotaService.method.reconcileUsage> {
  const report = createJournalReport(deps);
  return async ({ userId, reason }, context) => {
    validate((check) => {
      check.uuid("user_id", userId);
      check.text("reason", reason, { max: 500 });
    });
    const actorId = userCallerOf(context).userId;
    const before = await readQuota(deps.pool, userId, deps.clock.now());
    if (before === null) throw accountNotFound(callerOf(context));
    const verdict = await compareUsage(deps, before.userId, context.signal);
    if (verdict === undefined || verdict.kind === "undecided") throw ledgerBehind();
    const figures = {
      ledgerChargedBytes: verdict.at.ledgerBytes,
      registryChargedBytes: verdict.at.registryBytes,
      outboxPosition: verdict.at.position,
    };
    if (verdict.kind === "equal") {
      const quota = (await readQuota(deps.pool, userId, deps.clock.now())) ?? before;
      return { quota: toProtoQuota(quota), ...figures };
    }
    const correction = { userId: before.userId, actorId, reason, at: verdict.at };
    const { quota, entry, journal } = await transact(deps, (tx) => adjust(deps, tx, correction));
    report(journal);
    return { quota: toProtoQuota(quota ?? before), ...figures, ...(entry && { ledgerEntry: toProtoEntry(entry) }) };
  };
}

/**
 * The difference held at every position that was looked at, so it is posted whatever was charged meanwhile. Only what is
 * left of it: another call, or a repetition of this one, may have corrected it since.
 */
async function adjust(
  deps: Deps,
  tx: Transaction,
  correction: { userId: string; actorId: string; reason: string; at: Comparison },
) {
  const { userId, actorId, at } = correction;
  const now = deps.clock.now();
  const account = await lockAccount(tx, userId);
  if (account === undefined) throw new Error("an account has vanished, although none is ever deleted");
  const deltaBytes = at.registryBytes - ((await readCut(tx, at)) ?? at.ledgerBytes);
  const reason = correction.reason || `node-registry counts ${at.registryBytes} bytes at position ${at.position}`;
  const journal = newJournal({ actorId, reason, at: now });
  if (deltaBytes === 0n) return { quota: await readQuota(tx, userId, now), entry: undefined, journal };
  const after = { ...account, ...post(journal, account, { deltaBytes }, { kind: "adjustment" }) };
  await saveBalances(tx, [after]);
  await writeJournal(deps, tx, journal);
  const [entry] = await listEntries(tx, { userId, before: undefined, limit: 1 });
  if (entry === undefined) throw new Error("the adjustment was not posted");
  return { quota: await readQuota(tx, userId, now), entry, journal };
}

function ledgerBehind() {
  const message = "events of this user are still on their way, so the figures cannot be compared yet";
  return quotaError(Code.Unavailable, "LEDGER_BEHIND", message, { retryAfterMs: 2_000 });
}
