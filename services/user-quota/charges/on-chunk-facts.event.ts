import type { ConsumerOptions } from "#platform/inbox/consumer-options.ts";
import type { ReceivedEvent } from "#platform/inbox/received-event.ts";
import type { Turn } from "#platform/inbox/turn.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { lockOrOpenAccounts, saveBalances } from "../accounts/accounts.store.ts";
import type { Deps } from "../deps.ts";
import { writeJournal } from "../ledger/journal.event.ts";
import type { Journal } from "../ledger/posting.ts";
import { createJournalReport } from "../ledger/report.ts";
import { loadReservations, saveReservations } from "../reservations/reservations.store.ts";
import { claimCharges, saveCharges } from "./charges.store.ts";
import { factOf } from "./fact-of.event.ts";
import { chargeKey, claimsOf, type Fact } from "./facts.ts";
import { recordPosition } from "./positions.store.ts";
import { newBook, postFacts } from "./post-facts.ts";

/** Where the facts come from: their actor in the ledger, and the name of the position up to which they are applied. */
export const FACT_SOURCE = "node-registry";

/**
 * Posts what node-registry tells of chunks and uploads. A batch is folded per user and written with one statement per
 * table, however many users it touches; accounts are locked in the order of their ids, so batches never deadlock.
 */
export function onChunkFacts(deps: Deps): ConsumerOptions["apply"] {
  const report = createJournalReport(deps);
  return async (tx, events, batch) => {
    const facts = events.map(factOf).filter((fact) => fact !== undefined);
    const journal = facts.length > 0 ? await postAll(deps, tx, facts, batch) : undefined;
    // All batches write the position, so it is locked in their order.
    await batch.predecessor();
    await recordPosition(tx, FACT_SOURCE, highestOf(events));
    if (journal === undefined) return;
    batch.afterCommit(() => {
      report(journal);
      if (journal.crossings.length > 0) deps.outbox.wake();
    });
  };
}

async function postAll(deps: Deps, tx: Transaction, facts: readonly Fact[], turn: Turn): Promise<Journal> {
  const now = deps.clock.now();
  const userIds = [...new Set(facts.map((fact) => fact.userId))];
  const accounts = await lockOrOpenAccounts(tx, userIds, { quotaBytes: deps.defaultQuotaBytes, at: now });
  const reservations = await loadReservations(tx, reservationIdsOf(facts));
  const known = await claimCharges(tx, [...claimsOf(facts).values()]);
  turn.locked();
  const book = newBook({ actorId: FACT_SOURCE, at: now });
  for (const account of accounts) book.accounts.set(account.userId, account);
  for (const reservation of reservations) book.reservations.set(reservation.reservationId, reservation);
  for (const charge of known) book.charges.set(chargeKey(charge), charge);
  postFacts(book, facts);
  // What was claimed as new is in its final state already; only known charges can still have moved on.
  await saveCharges(
    tx,
    changedOf(known, (charge) => book.charges.get(chargeKey(charge))),
  );
  await saveReservations(
    tx,
    changedOf(reservations, ({ reservationId }) => book.reservations.get(reservationId)),
    now,
  );
  await saveBalances(
    tx,
    changedOf(accounts, ({ userId }) => book.accounts.get(userId)),
  );
  await writeJournal(deps, tx, book.journal);
  return book.journal;
}

function changedOf<T>(before: readonly T[], after: (item: T) => T | undefined): T[] {
  return before.flatMap((item) => {
    const now = after(item);
    return now === undefined || now === item ? [] : [now];
  });
}

function highestOf(events: readonly ReceivedEvent[]): bigint {
  let highest = 0n;
  for (const { sequence } of events) if (sequence > highest) highest = sequence;
  return highest;
}

function reservationIdsOf(facts: readonly Fact[]): string[] {
  const ids = facts.map((fact) => (fact.kind === "released" ? undefined : fact.reservationId));
  return [...new Set(ids.filter((id) => id !== undefined))];
}
