import type { MethodImpl } from "@connectrpc/connect";
import { z } from "zod";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { callerOf } from "#platform/rpc/caller.ts";
import { nextPageToken, pageOf } from "#platform/rpc/paging.ts";
import { validate } from "#platform/rpc/validate.ts";
import { hasAccount } from "../accounts/accounts.store.ts";
import { openOwnAccount } from "../accounts/own-account.rpc.ts";
import type { Deps } from "../deps.ts";
import { accountNotFound } from "../errors.ts";
import { listEntries } from "../ledger/entries.store.ts";
import { toProtoEntry } from "../ledger/to-proto.ts";

const cursor = z.strictObject({
  before: z.coerce
    .bigint()
    .min(0n)
    .max(2n ** 63n - 1n),
});

export function listLedgerEntries(deps: Deps): MethodImpl<typeof UserQuotaService.method.listLedgerEntries> {
  return async (request, context) => {
    const { userId } = request;
    validate((check) => check.uuid("user_id", userId));
    const { limit, after } = pageOf(request, cursor);
    const entries = await listEntries(deps.pool, { userId, before: after?.before, limit });
    if (entries.length === 0) {
      const caller = callerOf(context);
      await openOwnAccount(deps, caller, userId);
      if (!(await hasAccount(deps.pool, userId))) throw accountNotFound(caller);
    }
    return {
      ledgerEntries: entries.map(toProtoEntry),
      nextPageToken: nextPageToken(entries, limit, ({ entryId }) => ({ before: entryId })),
    };
  };
}
