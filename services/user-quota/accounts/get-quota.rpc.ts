import type { MethodImpl } from "@connectrpc/connect";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { type Caller, callerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { accountNotFound } from "../errors.ts";
import { openAccounts, readQuota } from "./accounts.store.ts";
import { toProtoQuota } from "./to-proto.ts";

export function getQuota(deps: Deps): MethodImpl<typeof UserQuotaService.method.getQuota> {
  return async ({ userId }, context) => {
    validate((check) => check.uuid("user_id", userId));
    const caller = callerOf(context);
    const now = deps.clock.now();
    let quota = await readQuota(deps.pool, userId, now);
    if (quota === null && isSelf(caller, userId)) {
      // The user exists, since auth signed the token: the registration event is only slower than the user.
      await openAccounts(deps.pool, [userId], { quotaBytes: deps.defaultQuotaBytes, at: now });
      quota = await readQuota(deps.pool, userId, now);
    }
    if (quota === null) throw accountNotFound(caller);
    return { quota: toProtoQuota(quota) };
  };
}

function isSelf(caller: Caller, userId: string): boolean {
  return caller.kind === "user" && caller.userId.toLowerCase() === userId.toLowerCase();
}
