import type { MethodImpl } from "@connectrpc/connect";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { callerOf } from "#platform/rpc/caller.ts";
import { accessDenied } from "#platform/rpc/errors.ts";
import { validate } from "#platform/rpc/validate.ts";
import { lockAccounts } from "../accounts/accounts.store.ts";
import type { Deps } from "../deps.ts";
import { reservationClosed, reservationNotFound } from "../errors.ts";
import { asOf, type Reservation, releasedOf } from "./reservation.ts";
import { findReservation, freeBytes, loadReservations, saveReservations } from "./reservations.store.ts";
import { toProtoReservation } from "./to-proto.ts";

export function releaseReservation(deps: Deps): MethodImpl<typeof UserQuotaService.method.releaseReservation> {
  return async ({ reservationId }, context) => {
    validate((check) => check.uuid("reservation_id", reservationId));
    const caller = callerOf(context);
    // User and client of a reservation never change, so they are read before the account is locked.
    const found = await findReservation(deps.pool, reservationId);
    if (found === null) throw reservationNotFound();
    if (caller.kind === "service" && caller.clientId !== found.clientId) {
      throw accessDenied("only the service that made the reservation, or an admin, may release it");
    }
    const reservation = await deps.pool.transaction((tx) => release(deps, tx, found));
    if (reservation === undefined) throw reservationNotFound();
    if (reservation.state !== "released" && reservation.state !== "expired") throw reservationClosed(reservation.state);
    return { reservation: toProtoReservation(reservation) };
  };
}

/** Undefined when it had ended long ago and was deleted meanwhile. */
async function release(
  deps: Deps,
  tx: Transaction,
  { userId, reservationId }: Reservation,
): Promise<Reservation | undefined> {
  await lockAccounts(tx, [userId]);
  const [before] = await loadReservations(tx, [reservationId]);
  if (before === undefined) return undefined;
  const now = deps.clock.now();
  const current = asOf(before, now);
  const after = current.state === "held" ? releasedOf(current) : current;
  if (after === before) return before;
  await saveReservations(tx, [after], now);
  await freeBytes(tx, userId, before.heldBytes - after.heldBytes);
  return after;
}
