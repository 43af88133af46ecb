import type { Account } from "../accounts/account.ts";
import type { Reservation } from "./reservation.ts";

export type Refusal =
  | { readonly kind: "key_reused"; readonly sizeBytes: bigint }
  | { readonly kind: "reservation_closed"; readonly state: string }
  | { readonly kind: "account_closed" }
  | { readonly kind: "account_inactive" }
  | { readonly kind: "quota_exceeded"; readonly account: Account };

export type Admission =
  | { readonly kind: "admitted" }
  | { readonly kind: "repeated"; reservation: Reservation }
  | Refusal;

/**
 * Whether an account takes a new reservation. `existing` is the reservation of the same key as it is now. A repeat is
 * answered before the account is looked at: what was granted stays granted. bigint arithmetic cannot overflow.
 */
export function admit(account: Account, existing: Reservation | undefined, sizeBytes: bigint): Admission {
  if (existing !== undefined) {
    if (existing.sizeBytes !== sizeBytes) return { kind: "key_reused", sizeBytes: existing.sizeBytes };
    if (existing.state !== "held") return { kind: "reservation_closed", state: existing.state };
    return { kind: "repeated", reservation: existing };
  }
  if (account.state === "closed") return { kind: "account_closed" };
  if (account.state === "inactive") return { kind: "account_inactive" };
  const isWithinLimit = account.usedBytes + account.reservedBytes + sizeBytes <= account.quotaBytes;
  return isWithinLimit ? { kind: "admitted" } : { kind: "quota_exceeded", account };
}
