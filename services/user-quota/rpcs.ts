import type { ServiceImpl } from "@connectrpc/connect";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { getQuota } from "./accounts/get-quota.rpc.ts";
import { listAccounts } from "./accounts/list-accounts.rpc.ts";
import { setQuota } from "./accounts/set-quota.rpc.ts";
import type { Deps } from "./deps.ts";
import { explainQuota } from "./explanation/explain-quota.rpc.ts";
import { listLedgerEntries } from "./explanation/list-ledger-entries.rpc.ts";
import { reconcileUsage } from "./reconciliation/reconcile-usage.rpc.ts";
import { getReservation } from "./reservations/get-reservation.rpc.ts";
import { releaseReservation } from "./reservations/release-reservation.rpc.ts";
import { reserveStorage } from "./reservations/reserve-storage.rpc.ts";

export function userQuotaHandlers(deps: Deps) {
  return {
    getQuota: getQuota(deps),
    setQuota: setQuota(deps),
    reserveStorage: reserveStorage(deps),
    releaseReservation: releaseReservation(deps),
    getReservation: getReservation(deps),
    listLedgerEntries: listLedgerEntries(deps),
    listAccounts: listAccounts(deps),
    explainQuota: explainQuota(deps),
    reconcileUsage: reconcileUsage(deps),
  } satisfies ServiceImpl<typeof UserQuotaService>;
}
