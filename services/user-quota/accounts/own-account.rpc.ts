import type { Caller } from "#platform/rpc/caller.ts";
import type { Deps } from "../deps.ts";
import { hasAccount, openAccounts } from "./accounts.store.ts";

export function isSelf(caller: Caller, userId: string): boolean {
  return caller.kind === "user" && caller.userId.toLowerCase() === userId.toLowerCase();
}

/**
 * Opens the account of a user who asks for it before the registration event has arrived. The user exists, since auth has
 * signed the token; the event is only slower. Others cannot open accounts, or ids could be made up.
 */
export async function openOwnAccount(deps: Deps, caller: Caller, userId: string): Promise<void> {
  if (!isSelf(caller, userId) || (await hasAccount(deps.pool, userId))) return;
  await openAccounts(deps.pool, [userId], { quotaBytes: deps.defaultQuotaBytes, at: deps.clock.now() });
}
