import type { MessageInitShape } from "@bufbuild/protobuf";
import type { UserSchema } from "#gen/decentrastore/auth/v1/user_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { UserRow } from "./users.store.ts";
import type { ListedUser } from "./users-admin.store.ts";

/** For the user itself. */
export function toOwnProtoUser(user: UserRow): MessageInitShape<typeof UserSchema> {
  return { ...toProtoUser(user), keySalt: user.salt };
}

/** For everybody else: without key_salt. */
export function toProtoUser(user: Omit<ListedUser, "usernameKey" | "emailKey">): MessageInitShape<typeof UserSchema> {
  return {
    userId: user.userId,
    username: user.username,
    email: user.email ?? "",
    createdAt: toTimestamp(user.createdAt),
    ...(user.lastLogin === null ? {} : { lastLogin: toTimestamp(user.lastLogin) }),
    isActive: user.isActive,
    isAdmin: user.isAdmin,
  };
}
