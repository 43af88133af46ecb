import type { MethodImpl } from "@connectrpc/connect";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import { validate } from "#platform/rpc/validate.ts";
import type { Deps } from "../deps.ts";
import { reservationNotFound } from "../errors.ts";
import { asOf } from "./reservation.ts";
import { findReservation } from "./reservations.store.ts";
import { toProtoReservation } from "./to-proto.ts";

export function getReservation(deps: Deps): MethodImpl<typeof UserQuotaService.method.getReservation> {
  return async ({ reservationId }) => {
    validate((check) => check.uuid("reservation_id", reservationId));
    const found = await findReservation(deps.pool, reservationId);
    if (found === null) throw reservationNotFound();
    return { reservation: toProtoReservation(asOf(found, deps.clock.now())) };
  };
}
