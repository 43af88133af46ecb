import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { beforeAll, expect, test } from "vitest";
import { ReservationState } from "#gen/decentrastore/user_quota/v1/reservation_pb.ts";
import { ErrorInfoSchema, QuotaFailureSchema, RetryInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import type { Caller } from "#platform/rpc/caller.ts";
import { toDuration } from "#platform/rpc/time.ts";
import { chunkStored, userChanged } from "../testing/events.ts";
import { admin, createFixture, type Fixture, gateway } from "../testing/fixture.ts";
import { expectSoundBooks } from "../testing/invariants.ts";
import { sweepOnce } from "./sweeper.worker.ts";

const HOUR = 3_600_000;
const MiB = 1_048_576n;
const uploader: Caller = { kind: "service", clientId: "uploader", scopes: new Set(["quota.reserve"]) };

let fixture: Fixture;
beforeAll(async () => {
  fixture = await createFixture();
  return async () => {
    await expectSoundBooks(fixture.pool);
    await fixture[Symbol.asyncDispose]();
  };
});

interface Over {
  key?: string;
  ttlMs?: number;
  by?: Caller;
  elsewhere?: boolean;
}

async function reserve(userId: string, sizeBytes: bigint, over: Over = {}) {
  const { key = randomUUID(), ttlMs = HOUR, by = gateway, elsewhere = false } = over;
  const request = { userId, sizeBytes, idempotencyKey: key, ttl: toDuration(ttlMs) };
  const client = elsewhere ? fixture.elsewhere(by) : fixture.as(by);
  const { reservation } = await client.reserveStorage(request);
  if (reservation === undefined) throw new Error("no reservation in the answer");
  return reservation;
}

async function refusal(
  call: Promise<unknown>,
): Promise<{ code: Code; reason: string | undefined; error: ConnectError }> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    return { code: error.code, reason: error.findDetails(ErrorInfoSchema)[0]?.reason, error };
  }
  throw new Error("the call was not refused");
}

async function quotaOf(userId: string) {
  const { quota } = await fixture.as(admin).getQuota({ userId });
  return quota;
}

test("of 1,000 parallel reservations on two processes for the last megabyte exactly the right number succeeds", async () => {
  const userId = await fixture.account(10n * MiB);
  await reserve(userId, 9n * MiB);
  const size = MiB / 64n + 1n;
  const calls = Array.from({ length: 1_000 }, (_item, index) => reserve(userId, size, { elsewhere: index % 2 === 0 }));
  const outcomes = await Promise.allSettled(calls);
  expect(outcomes.filter((outcome) => outcome.status === "fulfilled")).toHaveLength(63);
  const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
  expect(refused.every((error) => error instanceof ConnectError && error.code === Code.ResourceExhausted)).toBe(true);
  expect(await quotaOf(userId)).toMatchObject({ storageReservedBytes: 9n * MiB + 63n * size, storageUsedBytes: 0n });
}, 120_000);

test("a refusal carries limit, used, reserved and asked bytes, and is not remembered", async () => {
  const userId = await fixture.account(100n);
  await fixture.chunkEvents(chunkStored(userId, 30n));
  const held = await reserve(userId, 60n);
  const { code, reason, error } = await refusal(reserve(userId, 11n, { key: "again" }));
  expect([code, reason]).toEqual([Code.ResourceExhausted, "QUOTA_EXCEEDED"]);
  expect(error.findDetails(ErrorInfoSchema)[0]?.metadata).toEqual({
    limit_bytes: "100",
    used_bytes: "30",
    reserved_bytes: "60",
    asked_bytes: "11",
  });
  expect(error.findDetails(QuotaFailureSchema)[0]?.violations[0]?.subject).toBe(`user:${userId}`);
  await fixture.as(gateway).releaseReservation({ reservationId: held.reservationId });
  expect((await reserve(userId, 11n, { key: "again" })).sizeBytes).toBe(11n);
});

test("the limit itself may be reached, not passed by one byte", async () => {
  const userId = await fixture.account(100n);
  await reserve(userId, 99n);
  expect((await refusal(reserve(userId, 2n))).reason).toBe("QUOTA_EXCEEDED");
  await reserve(userId, 1n);
});

test.each([
  ["zero", 0n],
  ["negative", -1n],
  ["the most negative", -(2n ** 63n)],
])("a size of %s is refused by name and rule", async (_name, sizeBytes) => {
  const { code, reason, error } = await refusal(reserve(await fixture.account(), sizeBytes));
  expect([code, reason]).toEqual([Code.InvalidArgument, "INVALID_FIELD"]);
  expect(error.message).toContain("size_bytes");
});

test("the largest size overflows nothing, neither alone nor with what is there", async () => {
  const huge = 2n ** 63n - 1n;
  const userId = await fixture.account(100n);
  expect((await refusal(reserve(userId, huge))).reason).toBe("QUOTA_EXCEEDED");
  await fixture.as(admin).setQuota({ userId, storageQuotaBytes: huge, reason: "as much as there is" });
  await reserve(userId, huge - 1n);
  expect((await refusal(reserve(userId, huge))).reason).toBe("QUOTA_EXCEEDED");
  await fixture.chunkEvents(chunkStored(userId, 1_000n));
  expect(await quotaOf(userId)).toMatchObject({ storageReservedBytes: huge - 1n, storageUsedBytes: 1_000n });
  expect((await refusal(reserve(userId, 1n))).reason).toBe("QUOTA_EXCEEDED");
});

test("a key belongs to its client and user, and repeats only with its size and while it is held", async () => {
  const [userId, other] = [await fixture.account(1_000n), await fixture.account(1_000n)];
  // The clock is finer than the database: that shows in no answer.
  fixture.clock.jump(0.000_965);
  const first = await reserve(userId, 100n, { key: "upload/1" });
  expect(await reserve(userId, 100n, { key: "upload/1", ttlMs: 2 * HOUR })).toEqual(first);
  fixture.clock.jump(-0.000_965);
  expect((await reserve(other, 50n, { key: "upload/1" })).reservationId).not.toBe(first.reservationId);
  expect((await reserve(userId, 50n, { key: "upload/1", by: uploader })).reservationId).not.toBe(first.reservationId);
  expect(await refusal(reserve(userId, 101n, { key: "upload/1" }))).toMatchObject({
    code: Code.AlreadyExists,
    reason: "IDEMPOTENCY_KEY_REUSED",
  });
  await fixture.as(gateway).releaseReservation({ reservationId: first.reservationId });
  expect(await refusal(reserve(userId, 100n, { key: "upload/1" }))).toMatchObject({
    code: Code.FailedPrecondition,
    reason: "RESERVATION_CLOSED",
  });
  expect((await refusal(reserve(userId, 7n, { key: "upload/1" }))).reason).toBe("IDEMPOTENCY_KEY_REUSED");
});

test("parallel calls with one key make one reservation", async () => {
  const userId = await fixture.account(1_000n);
  const calls = Array.from({ length: 50 }, (_item, index) =>
    reserve(userId, 100n, { key: "one", elsewhere: index % 2 === 0 }),
  );
  const ids = new Set((await Promise.all(calls)).map((reservation) => reservation.reservationId));
  expect(ids.size).toBe(1);
  expect(await quotaOf(userId)).toMatchObject({ storageReservedBytes: 100n });
});

test("what is overdue is not counted from its instant on, and folded out by the next reservation", async () => {
  const userId = await fixture.account(100n);
  const { reservationId } = await reserve(userId, 100n, { ttlMs: 5_000 });
  fixture.clock.jump(4_999);
  expect((await refusal(reserve(userId, 1n))).reason).toBe("QUOTA_EXCEEDED");
  fixture.clock.jump(1);
  expect(await quotaOf(userId)).toMatchObject({ storageReservedBytes: 0n });
  const { reservation } = await fixture.as(gateway).getReservation({ reservationId });
  expect(reservation?.state).toBe(ReservationState.EXPIRED);
  await reserve(userId, 100n);
  expect(await quotaOf(userId)).toMatchObject({ storageReservedBytes: 100n });
});

test("the key of an overdue reservation is closed, whether or not anyone has swept", async () => {
  const userId = await fixture.account(100n);
  await reserve(userId, 10n, { key: "late", ttlMs: 1_000 });
  fixture.clock.jump(1_000);
  expect((await refusal(reserve(userId, 10n, { key: "late" }))).reason).toBe("RESERVATION_CLOSED");
  await expectSoundBooks(fixture.pool);
});

test("the sweeper folds out what nobody came across, and is right beside callers", async () => {
  const users = await Promise.all(Array.from({ length: 20 }, () => fixture.account(100n)));
  await Promise.all(users.map((userId) => reserve(userId, 60n, { ttlMs: 1_000 })));
  fixture.clock.jump(1_000);
  await Promise.all([
    sweepOnce(fixture.deps),
    ...users.map((userId) => reserve(userId, 100n)),
    sweepOnce(fixture.deps),
  ]);
  await expectSoundBooks(fixture.pool);
  expect(await sweepOnce(fixture.deps)).toBe(0);
});

test("only the client that made a reservation, or an admin, gives it back; twice is once", async () => {
  const userId = await fixture.account(100n);
  const { reservationId } = await reserve(userId, 60n);
  expect(await refusal(fixture.as(uploader).releaseReservation({ reservationId }))).toMatchObject({
    code: Code.PermissionDenied,
    reason: "ACCESS_DENIED",
  });
  expect(await quotaOf(userId)).toMatchObject({ storageReservedBytes: 60n });
  const releases = Array.from({ length: 10 }, () => fixture.as(gateway).releaseReservation({ reservationId }));
  for (const { reservation } of await Promise.all(releases)) expect(reservation?.state).toBe(ReservationState.RELEASED);
  expect(await quotaOf(userId)).toMatchObject({ storageReservedBytes: 0n });
  const second = await reserve(userId, 60n);
  await fixture.as(admin).releaseReservation({ reservationId: second.reservationId });
  expect(await quotaOf(userId)).toMatchObject({ storageReservedBytes: 0n });
});

test("a release gives back only what was not posted, and an overdue one reads EXPIRED", async () => {
  const userId = await fixture.account(100n);
  const first = await reserve(userId, 60n);
  await fixture.chunkEvents(chunkStored(userId, 20n, { reservationId: first.reservationId }));
  const { reservation } = await fixture.as(gateway).releaseReservation({ reservationId: first.reservationId });
  expect(reservation).toMatchObject({ state: ReservationState.RELEASED, postedBytes: 20n, sizeBytes: 60n });
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 20n, storageReservedBytes: 0n });
  const second = await reserve(userId, 10n, { ttlMs: 1_000 });
  fixture.clock.jump(1_000);
  const late = await fixture.as(gateway).releaseReservation({ reservationId: second.reservationId });
  expect(late.reservation?.state).toBe(ReservationState.EXPIRED);
});

test("unknown users and reservations are not found; services are told when to come back", async () => {
  const unknown = await refusal(reserve(randomUUID(), 1n));
  expect(unknown).toMatchObject({ code: Code.NotFound, reason: "ACCOUNT_NOT_FOUND" });
  expect(unknown.error.findDetails(RetryInfoSchema)[0]?.retryDelay?.seconds).toBe(1n);
  const reservationId = randomUUID();
  const notFound = { code: Code.NotFound, reason: "RESERVATION_NOT_FOUND" };
  expect(await refusal(fixture.as(gateway).getReservation({ reservationId }))).toMatchObject(notFound);
  expect(await refusal(fixture.as(gateway).releaseReservation({ reservationId }))).toMatchObject(notFound);
});

test("ids, keys and times that break a rule are refused together", async () => {
  const request = { userId: "x", sizeBytes: 0n, idempotencyKey: "k".repeat(256), ttl: toDuration(999) };
  const { error } = await refusal(fixture.as(gateway).reserveStorage(request));
  for (const field of ["user_id", "size_bytes", "idempotency_key", "ttl"]) expect(error.message).toContain(field);
  const userId = await fixture.account();
  const tooLong = { userId, sizeBytes: 1n, idempotencyKey: "k", ttl: toDuration(7 * 24 * HOUR + 1) };
  expect((await refusal(fixture.as(gateway).reserveStorage(tooLong))).error.message).toContain("ttl");
  const { userId: _user, ...noUser } = tooLong;
  expect((await refusal(fixture.as(gateway).reserveStorage(noUser))).error.message).toContain("user_id");
});

test("deactivated and deleted users reserve nothing, but keep what they hold", async () => {
  const userId = await fixture.account(1_000n);
  const first = await reserve(userId, 10n, { key: "held" });
  await fixture.userEvents(userChanged("deactivated", userId, 2n));
  expect(await refusal(reserve(userId, 1n))).toMatchObject({
    code: Code.FailedPrecondition,
    reason: "ACCOUNT_INACTIVE",
  });
  expect(await reserve(userId, 10n, { key: "held" })).toEqual(first);
  await fixture.userEvents(userChanged("activated", userId, 3n));
  await reserve(userId, 1n);
  await fixture.userEvents(userChanged("deleted", userId, 4n));
  expect(await refusal(reserve(userId, 1n))).toMatchObject({ code: Code.FailedPrecondition, reason: "ACCOUNT_CLOSED" });
  await fixture.chunkEvents(chunkStored(userId, 10n, { reservationId: first.reservationId }));
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 10n, storageReservedBytes: 1n });
});
