import { randomUUID } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ChunkLostSchema, ChunkStoredSchema, UploadCompletedSchema } from "#gen/decentrastore/events/v1/events_pb.ts";
import { LedgerEntryKind } from "#gen/decentrastore/user_quota/v1/ledger_entry_pb.ts";
import { ReservationState } from "#gen/decentrastore/user_quota/v1/reservation_pb.ts";
import { sql } from "#platform/postgres/sql.ts";
import { toDuration } from "#platform/rpc/time.ts";
import { anyHash, chunkReleased, chunkStored, received, uploadCompleted, uploadExpired } from "../testing/events.ts";
import { admin, createFixture, type Fixture, gateway } from "../testing/fixture.ts";
import { announcedThresholds, expectSoundBooks } from "../testing/invariants.ts";

let fixture: Fixture;
beforeAll(async () => {
  fixture = await createFixture();
  return async () => {
    await expectSoundBooks(fixture.pool);
    await fixture[Symbol.asyncDispose]();
  };
});

async function reserve(userId: string, sizeBytes: bigint, ttlMs = 3_600_000): Promise<string> {
  const request = { userId, sizeBytes, idempotencyKey: randomUUID(), ttl: toDuration(ttlMs) };
  const { reservation } = await fixture.as(gateway).reserveStorage(request);
  return reservation?.reservationId ?? "";
}

async function quotaOf(userId: string) {
  return (await fixture.as(admin).getQuota({ userId })).quota;
}

async function stateOf(reservationId: string) {
  return (await fixture.as(gateway).getReservation({ reservationId })).reservation?.state;
}

async function entriesOf(userId: string) {
  return (await fixture.as(admin).listLedgerEntries({ userId })).ledgerEntries;
}

test("a chunk at quorum is charged once, however often it is reported", async () => {
  const userId = await fixture.account();
  const reservationId = await reserve(userId, 300n);
  const chunk = { chunkHash: anyHash(), reservationId };
  await fixture.chunkEvents(
    chunkStored(userId, 100n, { ...chunk, reachedQuorum: false }),
    chunkStored(userId, 100n, chunk),
    chunkStored(userId, 100n, chunk),
  );
  await fixture.chunkEvents(chunkStored(userId, 100n, chunk));
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 100n, storageReservedBytes: 200n });
  const entries = await entriesOf(userId);
  expect(entries).toHaveLength(1);
  expect(entries[0]).toMatchObject({
    ledgerEntryId: 1n,
    kind: LedgerEntryKind.CHARGE,
    deltaBytes: 100n,
    usedBeforeBytes: 0n,
    usedAfterBytes: 100n,
    chunkHash: chunk.chunkHash,
    generation: 1,
    reservationId,
    actorId: "node-registry",
    isAnomaly: false,
  });
});

test("an upload's end closes its reservation, before or after its charges", async () => {
  const userId = await fixture.account();
  const [early, late] = [await reserve(userId, 100n), await reserve(userId, 100n)];
  await fixture.chunkEvents(uploadCompleted(userId, early, 100n));
  expect(await stateOf(early)).toBe(ReservationState.CLOSING);
  await fixture.chunkEvents(chunkStored(userId, 60n, { reservationId: early }));
  expect(await stateOf(early)).toBe(ReservationState.CLOSING);
  await fixture.chunkEvents(chunkStored(userId, 40n, { reservationId: early }));
  expect(await stateOf(early)).toBe(ReservationState.CLOSED);
  await fixture.chunkEvents(chunkStored(userId, 100n, { reservationId: late }), uploadCompleted(userId, late, 100n));
  expect(await stateOf(late)).toBe(ReservationState.CLOSED);
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 200n, storageReservedBytes: 0n });
});

test("an expired upload gives back what it did not charge", async () => {
  const userId = await fixture.account();
  const reservationId = await reserve(userId, 100n);
  await fixture.chunkEvents(uploadExpired(userId, reservationId, 30n), chunkStored(userId, 30n, { reservationId }));
  expect(await stateOf(reservationId)).toBe(ReservationState.CLOSED);
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 30n, storageReservedBytes: 0n });
});

test("facts whose reservation is overdue, released or somebody else's are late charges, also over the limit", async () => {
  const [userId, other] = [await fixture.account(100n), await fixture.account(100n)];
  const overdue = await reserve(userId, 80n, 1_000);
  const foreign = await reserve(other, 80n);
  fixture.clock.jump(1_000);
  const released = await reserve(userId, 10n);
  await fixture.as(gateway).releaseReservation({ reservationId: released });
  await fixture.chunkEvents(
    ...[overdue, released, foreign, randomUUID(), ""].map((reservationId) =>
      chunkStored(userId, 30n, { reservationId }),
    ),
  );
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 150n, storageReservedBytes: 0n, isOverQuota: true });
  expect(await quotaOf(other)).toMatchObject({ storageUsedBytes: 0n, storageReservedBytes: 80n });
  const entries = await entriesOf(userId);
  expect(entries.slice(0, 5).every(({ kind }) => kind === LedgerEntryKind.LATE_CHARGE)).toBe(true);
  expect(entries[0]).toMatchObject({ isOverQuota: true, usedAfterBytes: 150n });
  expect(await stateOf(overdue)).toBe(ReservationState.EXPIRED);
});

test("a release refunds once what was charged, and before its charge it forestalls it", async () => {
  const userId = await fixture.account();
  const [first, second] = [anyHash(), anyHash()];
  const reservationId = await reserve(userId, 200n);
  await fixture.chunkEvents(chunkStored(userId, 100n, { chunkHash: first, reservationId }));
  await fixture.chunkEvents(chunkReleased(userId, first, 999n), chunkReleased(userId, second, 100n));
  await fixture.chunkEvents(chunkReleased(userId, first, 100n), uploadCompleted(userId, reservationId, 200n));
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 0n, storageReservedBytes: 100n });
  await fixture.chunkEvents(chunkStored(userId, 100n, { chunkHash: second, reservationId }));
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 0n, storageReservedBytes: 0n });
  expect(await stateOf(reservationId)).toBe(ReservationState.CLOSED);
  const reborn = chunkStored(userId, 70n, { chunkHash: first, generation: 2 });
  await fixture.chunkEvents(reborn, chunkReleased(userId, first, 100n));
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 70n });
});

test("a release of what was never charged changes nothing and leaves nothing behind", async () => {
  const userId = await fixture.account();
  const chunkHash = anyHash();
  await fixture.chunkEvents(chunkReleased(userId, chunkHash, 100n, { charged: false }));
  const rows = await fixture.pool.any(sql.type(z.strictObject({ state: z.string() }))`
    select state from user_quota.charges where user_id = ${userId}`);
  expect(rows).toEqual([]);
});

test("a fact of an unknown user opens an account provisionally", async () => {
  const userId = randomUUID();
  await fixture.chunkEvents(chunkStored(userId, 100n));
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 100n, storageQuotaBytes: 10_737_418_240n });
  expect(await fixture.as(admin).explainQuota({ userId })).toMatchObject({ isProvisional: true });
});

test("thresholds are announced once per crossing and re-armed five points below", async () => {
  const userId = await fixture.account(1_000n);
  const chunks = Array.from({ length: 10 }, () => anyHash());
  const stored = (index: number) => chunkStored(userId, 100n, { chunkHash: chunks[index] ?? "" });
  const released = (index: number) => chunkReleased(userId, chunks[index] ?? "", 100n);
  await fixture.chunkEvents(...chunks.slice(0, 8).map((_hash, index) => stored(index)));
  expect(await announcedThresholds(fixture.pool, userId)).toEqual([80]);
  await fixture.chunkEvents(stored(8), stored(9), stored(8));
  expect(await announcedThresholds(fixture.pool, userId)).toEqual([80, 90, 100]);
  await fixture.chunkEvents(released(9), chunkStored(userId, 100n));
  expect(await announcedThresholds(fixture.pool, userId)).toEqual([80, 90, 100, 100]);
  await fixture.chunkEvents(...[0, 1, 2, 3].map(released));
  await fixture.as(admin).setQuota({ userId, storageQuotaBytes: 600n, reason: "less" });
  expect(await announcedThresholds(fixture.pool, userId)).toEqual([80, 90, 100, 100, 80, 90, 100]);
});

test("a crossing there and back within one batch is announced all the same", async () => {
  const userId = await fixture.account(100n);
  const chunkHash = anyHash();
  await fixture.chunkEvents(chunkStored(userId, 85n, { chunkHash }), chunkReleased(userId, chunkHash, 85n));
  expect(await announcedThresholds(fixture.pool, userId)).toEqual([80]);
  await fixture.chunkEvents(chunkStored(userId, 85n));
  expect(await announcedThresholds(fixture.pool, userId)).toEqual([80, 80]);
});

test("everything replayed, shuffled and doubled changes nothing", async () => {
  const userId = await fixture.account(10_000n);
  const reservationId = await reserve(userId, 1_000n);
  const chunks = Array.from({ length: 10 }, () => anyHash());
  const events = [
    ...chunks.map((chunkHash) => chunkStored(userId, 100n, { chunkHash, reservationId })),
    uploadCompleted(userId, reservationId, 1_000n),
    ...chunks.slice(0, 4).map((chunkHash) => chunkReleased(userId, chunkHash, 100n)),
  ];
  await fixture.chunkEvents(...events.toReversed());
  const before = await quotaOf(userId);
  expect(before).toMatchObject({ storageUsedBytes: 600n, storageReservedBytes: 0n });
  const entries = await entriesOf(userId);
  await fixture.chunkEvents(...events, ...events.toReversed());
  for (const event of events) await fixture.chunkEvents(event);
  expect(await quotaOf(userId)).toEqual(before);
  expect(await entriesOf(userId)).toEqual(entries);
});

test.each([
  ["a size of zero", () => chunkStored(randomUUID(), 0n)],
  ["a user that is no UUID", () => chunkStored("somebody", 1n)],
  ["a hash that is none", () => chunkStored(randomUUID(), 1n, { chunkHash: "AB" })],
  ["generation zero", () => chunkStored(randomUUID(), 1n, { generation: 0 })],
  ["a reservation that is no UUID", () => chunkStored(randomUUID(), 1n, { reservationId: "1" })],
  ["a negative charge", () => uploadCompleted(randomUUID(), randomUUID(), -1n)],
  ["bytes that are no message", () => ({ ...chunkStored(randomUUID(), 1n), payload: Buffer.from([255, 255]) })],
])("an event with %s cannot be applied, and leaves nothing behind", async (_name, event) => {
  const userId = await fixture.account();
  await expect(fixture.chunkEvents(chunkStored(userId, 100n), event())).rejects.toThrow();
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 0n });
});

test("what concerns nobody's quota is passed over", async () => {
  const userId = await fixture.account();
  await fixture.chunkEvents(
    received(ChunkLostSchema, { userId, chunkHash: anyHash(), generation: 1 }),
    received(UploadCompletedSchema, { userId, uploadId: randomUUID() }),
    { ...received(ChunkStoredSchema, {}), type: "decentrastore.events.v1.ChunkInventedLater" },
  );
  expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 0n });
});

test("many writers on many users at once end right, and without a deadlock", async () => {
  const users = await Promise.all(Array.from({ length: 30 }, () => fixture.account()));
  const shuffled = () => users.toSorted(() => Math.random() - 0.5);
  const batches = Array.from({ length: 20 }, () => shuffled().map((userId) => chunkStored(userId, 10n)));
  const reservations = Array.from({ length: 60 }, (_item, index) => reserve(users[index % 30] ?? "", 5n));
  await Promise.all([...batches.map((batch) => fixture.chunkEvents(...batch)), ...reservations]);
  for (const userId of users) {
    expect(await quotaOf(userId)).toMatchObject({ storageUsedBytes: 200n, storageReservedBytes: 10n });
  }
});
