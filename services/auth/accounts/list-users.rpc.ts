import type { MethodImpl } from "@connectrpc/connect";
import { z } from "zod";
import type { UserAdminService } from "#gen/decentrastore/auth/v1/user_admin_service_pb.ts";
import { nextPageToken, type Page, pageOf } from "#platform/rpc/paging.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { toProtoUser } from "./proto-user.ts";
import { nameKey } from "./username.ts";
import { findListedUser, type ListedUser, listUsersByEmail, listUsersByName } from "./users-admin.store.ts";

/** Names first, then addresses; each part in the order of its own index. */
const cursor = z.strictObject({ by: z.enum(["name", "email"]), after: z.string().max(1_000) });
type Cursor = z.output<typeof cursor>;
type Found = ListedUser & { readonly by: Cursor["by"] };

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function listUsers(deps: Deps): MethodImpl<typeof UserAdminService.method.listUsers> {
  return async (request) => {
    validate((check) => check.text("query", request.query, { max: 120 }));
    const page = pageOf(request, cursor);
    if (UUID.test(request.query)) {
      const user = await findListedUser(deps.pool, request.query);
      return { users: user === undefined ? [] : [toProtoUser(user)] };
    }
    const found = await search(deps, nameKey(request.query), page);
    return {
      users: found.map((user) => toProtoUser(user)),
      nextPageToken: nextPageToken(found, page.limit, (user): Cursor => {
        return { by: user.by, after: user.by === "name" ? user.usernameKey : (user.emailKey ?? "") };
      }),
    };
  };
}

async function search(deps: Deps, prefix: string, page: Page<Cursor>): Promise<readonly Found[]> {
  const { limit, after } = page;
  const byName = after?.by === "email" ? [] : await listUsersByName(deps.pool, prefix, after?.after, limit);
  const names = byName.map((user): Found => ({ ...user, by: "name" }));
  // Everybody's name begins with nothing.
  if (names.length === limit || prefix === "") return names;
  const behind = after?.by === "email" ? after.after : undefined;
  const byEmail = await listUsersByEmail(deps.pool, prefix, behind, limit - names.length);
  return [...names, ...byEmail.map((user): Found => ({ ...user, by: "email" }))];
}
