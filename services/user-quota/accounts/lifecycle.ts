import { type Journal, post } from "../ledger/posting.ts";
import type { Account } from "./account.ts";

export interface ImportedOpening {
  readonly quotaBytes: bigint;
  readonly usedBytes: bigint;
}

/** What auth tells of a user. `version` counts the events of this user at auth. */
export type UserChange = {
  readonly userId: string;
  readonly version: bigint;
  readonly eventId: string;
  readonly sourcePosition: bigint;
} & (
  | { readonly kind: "registered"; readonly opening: ImportedOpening | undefined }
  | { readonly kind: "activated" | "deactivated" | "deleted" }
);

/**
 * The account after a change of its user, whatever the order of arrival: a registration counts once, deletion is final,
 * and of the others the latest version wins.
 */
export function applyUserChange(journal: Journal, account: Account, change: UserChange): Account {
  switch (change.kind) {
    case "registered":
      return registered(journal, account, change);
    case "deleted":
      return { ...account, state: "closed", userVersion: max(account.userVersion, change.version) };
    case "activated":
    case "deactivated": {
      if (account.state === "closed" || change.version <= account.userVersion) return account;
      const state = change.kind === "activated" ? "active" : "inactive";
      return { ...account, state, userVersion: change.version };
    }
  }
}

function registered(journal: Journal, account: Account, change: UserChange & { kind: "registered" }): Account {
  if (!account.isProvisional) return account;
  const { opening, eventId, sourcePosition } = change;
  if (opening === undefined) return { ...account, isProvisional: false };
  const keepsLimit = account.quotaSource === "admin";
  const posting = {
    deltaBytes: opening.usedBytes,
    quotaBytes: keepsLimit ? account.quotaBytes : opening.quotaBytes,
  };
  return {
    ...account,
    ...post(journal, account, posting, { kind: "opening", eventId, sourcePosition }),
    isProvisional: false,
    openingBytes: opening.usedBytes,
    quotaSource: keepsLimit ? "admin" : "import",
  };
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
