import fc from "fast-check";
import { expect, test } from "vitest";
import { asOf, endWith, isLiving, isOverdue, postTo, type Reservation, releasedOf } from "./reservation.ts";

const createdAt = Temporal.Instant.from("2026-01-01T00:00:00Z");
const expiresAt = createdAt.add({ hours: 48 });

function held(sizeBytes: bigint): Reservation {
  return {
    reservationId: "00000000-0000-7000-8000-000000000001",
    userId: "00000000-0000-7000-8000-000000000002",
    clientId: "gateway",
    idempotencyKey: "upload/1",
    sizeBytes,
    postedBytes: 0n,
    heldBytes: sizeBytes,
    expectedBytes: null,
    state: "held",
    createdAt,
    expiresAt,
  };
}

test("posting moves bytes out of the hold", () => {
  expect(postTo(held(10n), 4n)).toMatchObject({ state: "held", postedBytes: 4n, heldBytes: 6n });
});

test("a fact above the reservation is posted, and the hold does not go below zero", () => {
  expect(postTo(held(10n), 14n)).toMatchObject({ state: "held", postedBytes: 14n, heldBytes: 0n });
});

test("an upload that ends with everything posted closes its reservation", () => {
  expect(endWith(postTo(held(10n), 10n), 10n)).toMatchObject({ state: "closed", heldBytes: 0n });
});

test("an upload that ends before its charges arrived holds exactly those, and the last one closes it", () => {
  const closing = endWith(postTo(held(10n), 2n), 7n);
  expect(closing).toMatchObject({ state: "closing", heldBytes: 5n });
  expect(postTo(closing, 3n)).toMatchObject({ state: "closing", heldBytes: 2n });
  expect(postTo(postTo(closing, 3n), 2n)).toMatchObject({ state: "closed", postedBytes: 7n, heldBytes: 0n });
});

test("an upload that expired with nothing stored closes its reservation at once", () => {
  expect(endWith(held(10n), 0n)).toMatchObject({ state: "closed", heldBytes: 0n });
});

test("an end that expects more than was reserved does not enlarge the hold", () => {
  expect(endWith(held(10n), 25n)).toMatchObject({ state: "closing", heldBytes: 10n });
});

test("a reservation ends at the instant of its expiry", () => {
  const reservation = held(10n);
  expect(isLiving(reservation, expiresAt.subtract({ nanoseconds: 1 }))).toBe(true);
  expect(isOverdue(reservation, expiresAt)).toBe(true);
  expect(asOf(reservation, expiresAt)).toMatchObject({ state: "expired", heldBytes: 0n });
  expect(asOf(reservation, createdAt)).toBe(reservation);
});

test("what has ended does not expire any more", () => {
  const released = releasedOf(held(10n));
  expect(asOf(released, expiresAt)).toBe(released);
});

test("whatever happens, the hold only shrinks, stays within the size, and is 0 once the reservation has ended", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("post" as const), bytes: fc.bigInt({ min: 1n, max: 40n }) }),
    fc.record({ kind: fc.constant("end" as const), bytes: fc.bigInt({ min: 0n, max: 120n }) }),
  );
  fc.assert(
    fc.property(fc.bigInt({ min: 1n, max: 100n }), fc.array(step), (sizeBytes, steps) => {
      let current = held(sizeBytes);
      for (const { kind, bytes } of steps) {
        if (!isLiving(current, createdAt)) break;
        const next = kind === "post" ? postTo(current, bytes) : endWith(current, bytes);
        expect(next.heldBytes <= current.heldBytes && next.heldBytes >= 0n).toBe(true);
        if (next.state === "closed") expect(next.heldBytes).toBe(0n);
        current = next;
      }
    }),
  );
});
