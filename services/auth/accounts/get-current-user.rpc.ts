import type { MethodImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { userCallerOf } from "#platform/rpc/caller.ts";
import type { Deps } from "../deps.ts";
import { tokenInvalid } from "../errors.ts";
import { toOwnProtoUser } from "./proto-user.ts";
import { findUser } from "./users.store.ts";

export function getCurrentUser(deps: Deps): MethodImpl<typeof AuthService.method.getCurrentUser> {
  return async (_request, context) => {
    const user = await findUser(deps.pool, userCallerOf(context).userId);
    // Deleted or deactivated a moment ago: the verifier may not have heard of it yet.
    if (user === undefined || !user.isActive) throw tokenInvalid();
    return { user: toOwnProtoUser(user) };
  };
}
