import type { MethodImpl } from "@connectrpc/connect";
import { z } from "zod";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { nextPageToken, pageOf } from "#platform/rpc/paging.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { listQuotas } from "./accounts.store.ts";
import { toProtoQuota } from "./to-proto.ts";

const cursor = z.strictObject({ userId: z.guid() });

export function listAccounts(deps: Deps): MethodImpl<typeof UserQuotaService.method.listAccounts> {
  return async (request) => {
    const { onlyOverQuota, minUsedPercent } = request;
    validate((check) => check.int("min_used_percent", minUsedPercent, { min: 0 }));
    const { limit, after } = pageOf(request, cursor);
    const filter = { onlyOverQuota, minUsedPercent, after: after?.userId, limit };
    const quotas = await listQuotas(deps.pool, filter, deps.clock.now());
    return {
      quotas: quotas.map(toProtoQuota),
      nextPageToken: nextPageToken(quotas, limit, ({ userId }) => ({ userId })),
    };
  };
}
