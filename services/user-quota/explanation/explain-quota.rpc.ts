import type { MethodImpl } from "@connectrpc/connect";
import { AccountState, QuotaSource } from "#gen/decentrastore/user_quota/v1/quota_pb.ts";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { callerOf } from "#platform/rpc/caller.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import { validate } from "#platform/rpc/validate.ts";
import { readQuota } from "../accounts/accounts.store.ts";
import { openOwnAccount } from "../accounts/own-account.rpc.ts";
import { toProtoQuota } from "../accounts/to-proto.ts";
import type { Deps } from "../deps.ts";
import { accountNotFound } from "../errors.ts";
import { listEntries } from "../ledger/entries.store.ts";
import { crossedThresholds } from "../ledger/thresholds.ts";
import { toProtoEntry } from "../ledger/to-proto.ts";
import type { Reservation } from "../reservations/reservation.ts";
import { listLiving } from "../reservations/reservations.store.ts";
import { toProtoReservation } from "../reservations/to-proto.ts";
import { type AccountDetail, readDetail, readOneSnapshot } from "./account-detail.store.ts";

const MAX_RESERVATIONS = 100;
const LAST_ENTRIES = 20;

const protoStates = {
  active: AccountState.ACTIVE,
  inactive: AccountState.INACTIVE,
  closed: AccountState.CLOSED,
} as const;

const protoSources = {
  default: QuotaSource.DEFAULT,
  admin: QuotaSource.ADMIN,
  import: QuotaSource.IMPORT,
} as const;

export function explainQuota(deps: Deps): MethodImpl<typeof UserQuotaService.method.explainQuota> {
  return async ({ userId }, context) => {
    validate((check) => check.uuid("user_id", userId));
    const caller = callerOf(context);
    await openOwnAccount(deps, caller, userId);
    const found = await explain(deps, userId);
    if (found === undefined) throw accountNotFound(caller);
    const { quota, detail, living, entries } = found;
    return {
      quota: toProtoQuota(quota),
      accountState: protoStates[detail.state],
      isProvisional: detail.isProvisional,
      quotaOrigin: toProtoOrigin(detail),
      createdAt: toTimestamp(detail.createdAt),
      reservations: living.reservations.map(toProtoHolding),
      totalReservations: living.total,
      ledgerEntries: entries.map(toProtoEntry),
      crossedThresholdsPercent: [...crossedThresholds(detail.thresholdPercent)],
    };
  };
}

function explain(deps: Deps, userId: string) {
  return deps.pool.transaction(async (tx) => {
    await readOneSnapshot(tx);
    const now = deps.clock.now();
    const quota = await readQuota(tx, userId, now);
    if (quota === null) return undefined;
    const detail = await readDetail(tx, userId);
    const living = await listLiving(tx, { userId, limit: MAX_RESERVATIONS }, now);
    const entries = await listEntries(tx, { userId, before: undefined, limit: LAST_ENTRIES });
    return { quota, detail, living, entries };
  });
}

function toProtoOrigin(detail: AccountDetail) {
  return {
    source: protoSources[detail.quotaSource],
    actorId: detail.quotaActorId ?? "",
    reason: detail.quotaReason ?? "",
    setAt: toTimestamp(detail.quotaSetAt),
  };
}

function toProtoHolding(reservation: Reservation) {
  return {
    reservation: toProtoReservation(reservation),
    heldBytes: reservation.heldBytes,
    clientId: reservation.clientId,
    idempotencyKey: reservation.idempotencyKey,
    createdAt: toTimestamp(reservation.createdAt),
  };
}
