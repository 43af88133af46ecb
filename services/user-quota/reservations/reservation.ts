export type ReservationState = "held" | "closing" | "closed" | "released" | "expired";

/** Quota set aside for one upload. While it lives it adds `heldBytes` to its account's reserved bytes. */
export interface Reservation {
  readonly reservationId: string;
  readonly userId: string;
  readonly clientId: string;
  readonly idempotencyKey: string;
  readonly sizeBytes: bigint;
  readonly postedBytes: bigint;
  readonly heldBytes: bigint;
  /** What will be posted in all, known once its upload has ended. */
  readonly expectedBytes: bigint | null;
  readonly state: ReservationState;
  readonly createdAt: Temporal.Instant;
  readonly expiresAt: Temporal.Instant;
}

/** Whether it holds quota at `now`: a reservation ends at its instant of expiry, whether or not anyone has noticed. */
export function isLiving(reservation: Reservation, now: Temporal.Instant): boolean {
  return hasNotEnded(reservation) && Temporal.Instant.compare(reservation.expiresAt, now) > 0;
}

export function isOverdue(reservation: Reservation, now: Temporal.Instant): boolean {
  return hasNotEnded(reservation) && !isLiving(reservation, now);
}

/** The reservation as `now` makes it: an overdue one is expired, whatever is written about it. */
export function asOf(reservation: Reservation, now: Temporal.Instant): Reservation {
  return isOverdue(reservation, now) ? ended(reservation, "expired") : reservation;
}

/** Moves bytes from held to used. The bytes are a fact: what exceeds the reservation is posted all the same. */
export function postTo(reservation: Reservation, bytes: bigint): Reservation {
  return settled({ ...reservation, postedBytes: reservation.postedBytes + bytes });
}

/** Its upload has ended and `expectedBytes` are posted in all: closes it, now or with the last charge. */
export function endWith(reservation: Reservation, expectedBytes: bigint): Reservation {
  return settled({ ...reservation, state: "closing", expectedBytes });
}

/** Gives back what it still holds. */
export function releasedOf(reservation: Reservation): Reservation {
  return ended(reservation, "released");
}

function hasNotEnded({ state }: Reservation): boolean {
  return state === "held" || state === "closing";
}

function ended(reservation: Reservation, state: ReservationState): Reservation {
  return { ...reservation, state, heldBytes: 0n };
}

function settled(reservation: Reservation): Reservation {
  const { expectedBytes, postedBytes, sizeBytes, heldBytes } = reservation;
  if (expectedBytes !== null && postedBytes >= expectedBytes) return ended(reservation, "closed");
  const open = (expectedBytes ?? sizeBytes) - postedBytes;
  // A hold only ever shrinks: growing it here could pass the limit that ReserveStorage has checked.
  if (open >= heldBytes) return reservation;
  return { ...reservation, heldBytes: open > 0n ? open : 0n };
}
