import fc from "fast-check";
import { expect, test } from "vitest";
import type { Account } from "../accounts/account.ts";
import type { Reservation } from "../reservations/reservation.ts";
import { type ChunkFact, claimsOf, type Fact } from "./facts.ts";
import { type Book, newBook, postFacts } from "./post-facts.ts";

const now = Temporal.Instant.from("2026-01-01T00:00:00Z");
const userId = "00000000-0000-7000-8000-000000000002";
const reservationId = "00000000-0000-7000-8000-000000000001";
const hash = "ab".repeat(32);

const openAccount: Account = {
  userId,
  usedBytes: 0n,
  reservedBytes: 100n,
  quotaBytes: 1_000n,
  openingBytes: 0n,
  lastEntryId: 0n,
  eventVersion: 0n,
  userVersion: 0n,
  thresholdPercent: 0,
  state: "active",
  isProvisional: false,
  quotaSource: "default",
};

const heldReservation: Reservation = {
  reservationId,
  userId,
  clientId: "gateway",
  idempotencyKey: "upload/1",
  sizeBytes: 100n,
  postedBytes: 0n,
  heldBytes: 100n,
  expectedBytes: null,
  state: "held",
  createdAt: now,
  expiresAt: now.add({ hours: 48 }),
};

function bookOf(
  accounts: readonly Account[] = [openAccount],
  reservations: readonly Reservation[] = [heldReservation],
): Book {
  const book = newBook({ actorId: "node-registry", at: now });
  for (const one of accounts) book.accounts.set(one.userId, one);
  for (const one of reservations) book.reservations.set(one.reservationId, one);
  return book;
}

function stored(sizeBytes: bigint, over: Partial<Extract<Fact, { kind: "stored" }>> = {}): Fact {
  return {
    kind: "stored",
    userId,
    eventId: "e",
    sourcePosition: 1n,
    chunkHash: hash,
    generation: 1,
    sizeBytes,
    uploadId: undefined,
    reservationId,
    ...over,
  };
}

function released(sizeBytes: bigint, generation = 1): Fact {
  return { kind: "released", userId, eventId: "r", sourcePosition: 1n, chunkHash: hash, generation, sizeBytes };
}

function ended(chargedBytes: bigint): Fact {
  return { kind: "upload_ended", userId, eventId: "u", sourcePosition: 1n, reservationId, chargedBytes };
}

function outcome(facts: readonly Fact[], book = bookOf()) {
  postFacts(book, facts);
  return {
    account: book.accounts.get(userId),
    reservation: book.reservations.get(reservationId),
    kinds: book.journal.entries.map((entry) => entry.kind),
    book,
  };
}

test("a stored chunk moves from reserved to used", () => {
  const { account, reservation, kinds } = outcome([stored(30n)]);
  expect(account).toMatchObject({ usedBytes: 30n, reservedBytes: 70n, lastEntryId: 1n });
  expect(reservation).toMatchObject({ postedBytes: 30n, heldBytes: 70n });
  expect(kinds).toEqual(["charge"]);
});

test("a chunk is charged once and refunded once, by what was charged", () => {
  const { account, kinds } = outcome([stored(30n), stored(30n), released(999n), released(30n), stored(30n)]);
  expect(account?.usedBytes).toBe(0n);
  expect(kinds).toEqual(["charge", "refund"]);
});

test("each generation is a life of its own", () => {
  const { account } = outcome([stored(30n), released(30n), stored(40n, { generation: 2 })]);
  expect(account?.usedBytes).toBe(40n);
});

test("a chunk that was released before its quorum is heard of is not charged, but counts for its reservation", () => {
  const { account, reservation, kinds } = outcome([released(30n), ended(30n), stored(30n), stored(30n)]);
  expect(account).toMatchObject({ usedBytes: 0n, reservedBytes: 0n });
  expect(reservation).toMatchObject({ state: "closed", postedBytes: 30n });
  expect(kinds).toEqual([]);
});

test("an end that is told again with fewer bytes lets go of the rest", () => {
  const waiting = outcome([stored(30n), ended(80n)]);
  expect(waiting.reservation).toMatchObject({ state: "closing", heldBytes: 50n });
  const { account, reservation } = outcome([ended(30n)], waiting.book);
  expect(reservation).toMatchObject({ state: "closed", postedBytes: 30n, heldBytes: 0n });
  expect(account).toMatchObject({ usedBytes: 30n, reservedBytes: 0n });
});

test.each([
  ["that is gone", { ...heldReservation, state: "released", heldBytes: 0n } as const],
  ["that is overdue", { ...heldReservation, expiresAt: now }],
  ["of somebody else", { ...heldReservation, userId: "00000000-0000-7000-8000-000000000009" }],
])("a chunk is charged late against a reservation %s", (_name, gone) => {
  const { account, kinds } = outcome(
    [stored(30n)],
    bookOf([{ ...openAccount, reservedBytes: gone.heldBytes }], [gone]),
  );
  expect(account?.usedBytes).toBe(30n);
  expect(kinds).toEqual(["late_charge"]);
});

test("an overdue reservation that a fact comes across is folded out", () => {
  const { account, reservation } = outcome(
    [ended(0n)],
    bookOf([openAccount], [{ ...heldReservation, expiresAt: now }]),
  );
  expect(account?.reservedBytes).toBe(0n);
  expect(reservation?.state).toBe("expired");
});

test("facts are posted over the limit, and every threshold on the way is announced once", () => {
  const { account, book } = outcome([stored(5_000n)]);
  expect(account).toMatchObject({ usedBytes: 5_000n, thresholdPercent: 100, eventVersion: 3n });
  expect(book.journal.crossings.map((crossing) => crossing.thresholdPercent)).toEqual([80, 90, 100]);
});

test("a refund below zero is posted as it is and marked", () => {
  const book = bookOf();
  postFacts(book, [stored(30n)]);
  const drained = book.accounts.get(userId);
  if (drained !== undefined) book.accounts.set(userId, { ...drained, usedBytes: 10n });
  expect(outcome([released(30n)], book).account?.usedBytes).toBe(-20n);
  expect(book.journal.entries.at(-1)).toMatchObject({ kind: "refund", isAnomaly: true, usedAfterBytes: -20n });
});

const anyChunkFact: fc.Arbitrary<Fact> = fc
  .record({
    kind: fc.constantFrom("stored" as const, "released" as const),
    generation: fc.integer({ min: 1, max: 2 }),
    chunk: fc.integer({ min: 0, max: 3 }),
    sizeBytes: fc.bigInt({ min: 1n, max: 50n }),
  })
  .map(({ kind, generation, chunk, sizeBytes }): ChunkFact => {
    const chunkHash = String(chunk).repeat(64);
    if (kind === "released")
      return { kind, userId, eventId: "r", sourcePosition: 1n, chunkHash, generation, sizeBytes };
    return {
      kind,
      userId,
      eventId: "e",
      sourcePosition: 1n,
      chunkHash,
      generation,
      sizeBytes,
      uploadId: undefined,
      reservationId,
    };
  });

test("the guard's claim, made before anything is posted, is what posting ends with", () => {
  fc.assert(
    fc.property(fc.array(anyChunkFact, { maxLength: 40, size: "max" }), (facts) => {
      const book = bookOf();
      postFacts(book, facts);
      expect(claimsOf(facts)).toEqual(book.charges);
    }),
  );
});

test("whatever comes in whatever order, the entries chain, and add up to the charges", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(anyChunkFact, fc.bigInt({ min: 0n, max: 100n }).map(ended))), (facts) => {
      const { account, book } = outcome(facts);
      const { entries } = book.journal;
      const charged = [...book.charges.values()].filter((charge) => charge.state === "charged");
      expect(account?.usedBytes).toBe(charged.reduce((sum, charge) => sum + charge.sizeBytes, 0n));
      expect(account?.usedBytes).toBe(entries.reduce((sum, entry) => sum + entry.deltaBytes, 0n));
      expect(entries.map((entry) => entry.entryId)).toEqual(entries.map((_entry, index) => BigInt(index + 1)));
      expect(account?.reservedBytes).toBe(book.reservations.get(reservationId)?.heldBytes);
    }),
  );
});

test("cutting the facts into batches changes nothing", () => {
  fc.assert(
    fc.property(fc.array(anyChunkFact, { maxLength: 30, size: "max" }), fc.nat(30), (facts, cut) => {
      const whole = outcome(facts);
      const book = bookOf();
      postFacts(book, facts.slice(0, cut));
      const parts = outcome(facts.slice(cut), book);
      expect(parts.account).toEqual(whole.account);
      expect(parts.book.charges).toEqual(whole.book.charges);
    }),
  );
});
