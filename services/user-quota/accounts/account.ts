import type { Balance } from "../ledger/posting.ts";

export type AccountState = "active" | "inactive" | "closed";

/** The counters of an account, as they are read and written under its row lock. */
export interface Account extends Balance {
  /** Overdue reservations are counted until somebody folds them out. */
  readonly reservedBytes: bigint;
  readonly openingBytes: bigint;
  readonly state: AccountState;
  readonly isProvisional: boolean;
  /** Version of the last user.* event that decided the state. */
  readonly userVersion: bigint;
  readonly quotaSource: "default" | "admin" | "import";
}
