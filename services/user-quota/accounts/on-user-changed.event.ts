import { fromBinary } from "@bufbuild/protobuf";
import {
  UserActivatedSchema,
  UserDeactivatedSchema,
  UserDeletedSchema,
  UserRegisteredSchema,
} from "#gen/decentrastore/events/v1/events_pb.ts";
import type { ConsumerOptions } from "#platform/inbox/consumer-options.ts";
import type { ReceivedEvent } from "#platform/inbox/received-event.ts";
import type { Deps } from "../deps.ts";
import { UnusableEventError, uuidOf } from "../events.ts";
import { writeJournal } from "../ledger/journal.event.ts";
import { newJournal } from "../ledger/posting.ts";
import { createJournalReport } from "../ledger/report.ts";
import type { Account } from "./account.ts";
import { lockAccounts, openAccounts, saveBalances, saveImportedQuotas, saveLifecycles } from "./accounts.store.ts";
import { applyUserChange, type ImportedOpening, type UserChange } from "./lifecycle.ts";

/** Accounts follow their users. All events of a batch are folded into one write per account. */
export function onUserChanged(deps: Deps): ConsumerOptions["apply"] {
  const report = createJournalReport(deps);
  return async (tx, events, batch) => {
    const changes = events.map(userChangeOf).filter((change) => change !== undefined);
    if (changes.length === 0) return;
    const at = deps.clock.now();
    const userIds = [...new Set(changes.map((change) => change.userId))].sort();
    await openAccounts(tx, userIds, { quotaBytes: deps.defaultQuotaBytes, at });
    const before = await lockAccounts(tx, userIds);
    const accounts = new Map(before.map((account): [string, Account] => [account.userId, account]));
    const journal = newJournal({ actorId: "auth", at });
    for (const change of changes) {
      const account = accounts.get(change.userId);
      if (account !== undefined) accounts.set(change.userId, applyUserChange(journal, account, change));
    }
    const changed = before.flatMap((account) => {
      const after = accounts.get(account.userId);
      return after === undefined || after === account ? [] : [{ before: account, after }];
    });
    const imported = changed.filter((pair) => pair.before.quotaSource !== pair.after.quotaSource);
    await saveBalances(
      tx,
      changed.map(({ after }) => after),
    );
    await saveLifecycles(
      tx,
      changed.map(({ after }) => after),
    );
    await saveImportedQuotas(
      tx,
      imported.map(({ after }) => after),
      at,
    );
    await writeJournal(deps, tx, journal);
    batch.afterCommit(() => {
      report(journal);
      if (journal.crossings.length > 0) deps.outbox.wake();
    });
  };
}

function userChangeOf(event: ReceivedEvent): UserChange | undefined {
  const at = { version: event.keyVersion, eventId: event.eventId, sourcePosition: event.sequence };
  switch (event.type) {
    case UserRegisteredSchema.typeName: {
      const { userId, opening } = fromBinary(UserRegisteredSchema, event.payload);
      return { ...at, kind: "registered", userId: uuidOf("user_id", userId), opening: openingOf(opening) };
    }
    case UserActivatedSchema.typeName: {
      const { userId } = fromBinary(UserActivatedSchema, event.payload);
      return { ...at, kind: "activated", userId: uuidOf("user_id", userId) };
    }
    case UserDeactivatedSchema.typeName: {
      const { userId } = fromBinary(UserDeactivatedSchema, event.payload);
      return { ...at, kind: "deactivated", userId: uuidOf("user_id", userId) };
    }
    case UserDeletedSchema.typeName: {
      const { userId } = fromBinary(UserDeletedSchema, event.payload);
      return { ...at, kind: "deleted", userId: uuidOf("user_id", userId) };
    }
    default:
      return undefined;
  }
}

function openingOf(
  opening: { storageQuotaBytes: bigint; storageUsedBytes: bigint } | undefined,
): ImportedOpening | undefined {
  if (opening === undefined) return undefined;
  const { storageQuotaBytes: quotaBytes, storageUsedBytes: usedBytes } = opening;
  if (quotaBytes < 0n || usedBytes < 0n) throw new UnusableEventError("the opening figures are negative");
  return { quotaBytes, usedBytes };
}
