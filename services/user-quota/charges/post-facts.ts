import type { Account } from "../accounts/account.ts";
import { type EntryKind, type Journal, newJournal, type PostedBy, post } from "../ledger/posting.ts";
import { asOf, endWith, isLiving, postTo, type Reservation } from "../reservations/reservation.ts";
import {
  type Charge,
  type ChunkReleasedFact,
  type ChunkStoredFact,
  chargeKey,
  type Fact,
  nextState,
  type UploadEndedFact,
} from "./facts.ts";

/** What is known of the users of a batch, under the locks of their accounts. `postFacts` brings it up to date. */
export interface Book {
  readonly accounts: Map<string, Account>;
  readonly reservations: Map<string, Reservation>;
  readonly charges: Map<string, Charge>;
  readonly journal: Journal;
}

export function newBook(posted: PostedBy): Book {
  return { accounts: new Map(), reservations: new Map(), charges: new Map(), journal: newJournal(posted) };
}

/**
 * Posts facts in their order. Facts are never refused: a chunk that nothing was reserved for, or whose reservation is
 * gone, is charged as a late charge, also over the limit. One life of a chunk is charged at most once and refunded at most
 * once, by the size that was charged.
 */
export function postFacts(book: Book, facts: readonly Fact[]): void {
  for (const fact of facts) {
    if (fact.kind === "stored") chargeChunk(book, fact);
    else if (fact.kind === "released") refundChunk(book, fact);
    else endUpload(book, fact);
  }
}

function chargeChunk(book: Book, fact: ChunkStoredFact): void {
  const before = book.charges.get(chargeKey(fact));
  if (before !== undefined && before.state !== "forestalled") return;
  const { userId, chunkHash, generation, sizeBytes } = fact;
  book.charges.set(chargeKey(fact), {
    userId,
    chunkHash,
    generation,
    sizeBytes,
    state: nextState(before?.state, "stored"),
  });
  const isCovered = postToReservation(book, fact);
  // Released before its quorum was heard of: the use does not change, but the reservation may be waiting for this chunk.
  if (before !== undefined) return;
  const kind: EntryKind = isCovered ? "charge" : "late_charge";
  const { eventId, sourcePosition, uploadId, reservationId } = fact;
  const cause = { kind, eventId, sourcePosition, chunkHash, generation, uploadId, reservationId };
  change(book, userId, (account) => post(book.journal, account, { deltaBytes: sizeBytes }, cause));
}

function refundChunk(book: Book, fact: ChunkReleasedFact): void {
  const before = book.charges.get(chargeKey(fact));
  const { userId, chunkHash, generation, eventId, sourcePosition } = fact;
  const state = nextState(before?.state, "released");
  if (before?.state === state) return;
  const sizeBytes = before?.sizeBytes ?? fact.sizeBytes;
  book.charges.set(chargeKey(fact), { userId, chunkHash, generation, sizeBytes, state });
  if (before?.state !== "charged") return;
  const cause = { kind: "refund", eventId, sourcePosition, chunkHash, generation } as const;
  change(book, userId, (account) => post(book.journal, account, { deltaBytes: -sizeBytes }, cause));
}

function endUpload(book: Book, fact: UploadEndedFact): void {
  const reservation = ownReservation(book, fact);
  if (reservation === undefined) return;
  replace(
    book,
    isLiving(reservation, book.journal.at)
      ? endWith(reservation, fact.chargedBytes)
      : asOf(reservation, book.journal.at),
  );
}

function postToReservation(book: Book, fact: ChunkStoredFact): boolean {
  const reservation = ownReservation(book, fact);
  if (reservation === undefined) return false;
  const isCovered = isLiving(reservation, book.journal.at);
  replace(book, isCovered ? postTo(reservation, fact.sizeBytes) : asOf(reservation, book.journal.at));
  return isCovered;
}

/** A fact counts only against a reservation of its own user. */
function ownReservation(book: Book, fact: { userId: string; reservationId: string | undefined }) {
  const reservation = book.reservations.get(fact.reservationId ?? "");
  return reservation?.userId === fact.userId ? reservation : undefined;
}

function replace(book: Book, after: Reservation): void {
  const before = book.reservations.get(after.reservationId);
  if (before === undefined || before === after) return;
  book.reservations.set(after.reservationId, after);
  const heldBytes = after.heldBytes - before.heldBytes;
  change(book, after.userId, (account) => ({ reservedBytes: account.reservedBytes + heldBytes }));
}

function change(book: Book, userId: string, work: (account: Account) => Partial<Account>): void {
  const account = book.accounts.get(userId);
  if (account === undefined) throw new Error("a fact was posted to an account that is not locked");
  book.accounts.set(userId, { ...account, ...work(account) });
}
