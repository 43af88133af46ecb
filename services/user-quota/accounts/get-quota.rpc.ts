import type { MethodImpl } from "@connectrpc/connect";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { callerOf } from "#platform/rpc/caller.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { accountNotFound } from "../errors.ts";
import { readQuota } from "./accounts.store.ts";
import { isSelf, openOwnAccount } from "./own-account.rpc.ts";
import { toProtoQuota } from "./to-proto.ts";

export function getQuota(deps: Deps): MethodImpl<typeof UserQuotaService.method.getQuota> {
  return async ({ userId }, context) => {
    validate((check) => check.uuid("user_id", userId));
    const caller = callerOf(context);
    const now = deps.clock.now();
    let quota = await readQuota(deps.pool, userId, now);
    if (quota === null && isSelf(caller, userId)) {
      await openOwnAccount(deps, caller, userId);
      quota = await readQuota(deps.pool, userId, now);
    }
    if (quota === null) throw accountNotFound(caller);
    return { quota: toProtoQuota(quota) };
  };
}
