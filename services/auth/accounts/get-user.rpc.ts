import type { MethodImpl } from "@connectrpc/connect";
import type { UserAdminService } from "#gen/decentrastore/auth/v1/user_admin_service_pb.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { userNotFound } from "../errors.ts";
import { toProtoUser } from "./proto-user.ts";
import { findListedUser } from "./users-admin.store.ts";

export function getUser(deps: Deps): MethodImpl<typeof UserAdminService.method.getUser> {
  return async ({ userId }) => {
    validate((check) => check.uuid("user_id", userId));
    const user = await findListedUser(deps.pool, userId);
    if (user === undefined) throw userNotFound();
    return { user: toProtoUser(user) };
  };
}
