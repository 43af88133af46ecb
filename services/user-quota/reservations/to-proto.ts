import type { MessageInitShape } from "@bufbuild/protobuf";
import { type ReservationSchema, ReservationState } from "#gen/decentrastore/user_quota/v1/reservation_pb.ts";
import { toTimestamp } from "#platform/rpc/time.ts";
import type { Reservation } from "./reservation.ts";

const protoStates = {
  held: ReservationState.HELD,
  closing: ReservationState.CLOSING,
  closed: ReservationState.CLOSED,
  released: ReservationState.RELEASED,
  expired: ReservationState.EXPIRED,
} as const;

export function toProtoReservation(reservation: Reservation): MessageInitShape<typeof ReservationSchema> {
  return {
    reservationId: reservation.reservationId,
    userId: reservation.userId,
    sizeBytes: reservation.sizeBytes,
    postedBytes: reservation.postedBytes,
    state: protoStates[reservation.state],
    expiresAt: toTimestamp(reservation.expiresAt),
  };
}
