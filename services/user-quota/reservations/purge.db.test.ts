import { randomUUID } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ReservationState } from "#gen/decentrastore/user_quota/v1/reservation_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { toDuration } from "#platform/rpc/time.ts";
import { chunkStored } from "../testing/events.ts";
import { admin, createFixture, type Fixture, gateway } from "../testing/fixture.ts";
import { expectSoundBooks } from "../testing/invariants.ts";
import { purgeOnce, sweepOnce } from "./sweeper.worker.ts";

const HOUR = 3_600_000;
const RETENTION = 24 * HOUR;

let fixture: Fixture;
beforeAll(async () => {
  fixture = await createFixture();
  return async () => {
    await expectSoundBooks(fixture.pool);
    await fixture[Symbol.asyncDispose]();
  };
});

async function reserve(userId: string, key: string, ttlMs = HOUR) {
  const request = { userId, sizeBytes: 40n, idempotencyKey: key, ttl: toDuration(ttlMs) };
  const { reservation } = await fixture.as(gateway).reserveStorage(request);
  return reservation?.reservationId ?? "";
}

function release(reservationId: string) {
  return fixture.as(gateway).releaseReservation({ reservationId });
}

const purge = () => purgeOnce(fixture.deps, RETENTION);

test("a key is remembered through the retention; afterwards it makes a new reservation", async () => {
  const userId = await fixture.account(100n);
  const first = await reserve(userId, "again");
  await release(first);
  fixture.clock.jump(RETENTION);
  expect(await purge()).toBe(0);
  await expect(reserve(userId, "again")).rejects.toThrow(/failed_precondition/);
  fixture.clock.jump(1);
  expect(await purge()).toBe(1);
  await expect(release(first)).rejects.toThrow(/not_found/);
  const second = await reserve(userId, "again");
  expect(second).not.toBe(first);
  expect(await reserve(userId, "again")).toBe(second);
  const { reservation } = await fixture.as(gateway).getReservation({ reservationId: second });
  expect(reservation?.state).toBe(ReservationState.HELD);
});

test("what still holds something is kept, however old; an overdue one goes a retention after it was folded out", async () => {
  const userId = await fixture.account(100n);
  const overdue = await reserve(userId, "overdue");
  const living = await reserve(userId, "living", 7 * 24 * HOUR);
  fixture.clock.jump(RETENTION + 2 * HOUR);
  await purge();
  const { reservation } = await fixture.as(gateway).getReservation({ reservationId: overdue });
  expect(reservation?.state).toBe(ReservationState.EXPIRED);
  await sweepOnce(fixture.deps);
  fixture.clock.jump(RETENTION + 1);
  await purge();
  await expect(fixture.as(gateway).getReservation({ reservationId: overdue })).rejects.toThrow(/not_found/);
  const { quota } = await fixture.as(admin).getQuota({ userId });
  expect(quota).toMatchObject({ storageReservedBytes: 40n });
  await release(living);
});

test("a chunk that comes after its reservation was purged is charged as a late one", async () => {
  const userId = await fixture.account(100n);
  const reservationId = await reserve(userId, "late");
  await release(reservationId);
  fixture.clock.jump(RETENTION + 1);
  await purge();
  await fixture.chunkEvents(chunkStored(userId, 30n, { reservationId }));
  const { ledgerEntries } = await fixture.as(admin).listLedgerEntries({ userId, pageSize: 1 });
  expect(ledgerEntries[0]).toMatchObject({ deltaBytes: 30n, reservationId });
});

test("one call deletes a bounded number, the longest ended first", async () => {
  const userId = await fixture.account(100n);
  const kept = randomUUID();
  await fixture.pool.query(sql.type(z.strictObject({}))`
    insert into user_quota.reservations
      (reservation_id, user_id, client_id, idempotency_key, size_bytes, held_bytes, state, created_at, expires_at, closed_at)
    select case when n = 1 then ${kept}::uuid else gen_random_uuid() end, ${userId}, 'gateway', n::text, 1, 0, 'released',
      '2020-01-02', '2020-01-02', timestamptz '2020-01-02' - n * interval '1 s'
    from generate_series(1, 1001) as n`);
  expect(await purge()).toBe(1_000);
  const { reservation } = await fixture.as(gateway).getReservation({ reservationId: kept });
  expect(reservation?.reservationId).toBe(kept);
  expect(await purge()).toBe(1);
});
