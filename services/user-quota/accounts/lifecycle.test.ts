import fc from "fast-check";
import { expect, test } from "vitest";
import { newJournal } from "../ledger/posting.ts";
import type { Account } from "./account.ts";
import { applyUserChange, type UserChange } from "./lifecycle.ts";

const at = Temporal.Instant.from("2026-01-01T00:00:00Z");
const userId = "00000000-0000-7000-8000-000000000002";

const provisional: Account = {
  userId,
  usedBytes: 0n,
  reservedBytes: 0n,
  quotaBytes: 1_000n,
  openingBytes: 0n,
  lastEntryId: 0n,
  eventVersion: 0n,
  userVersion: 0n,
  thresholdPercent: 0,
  state: "active",
  isProvisional: true,
  quotaSource: "default",
};

const registered: UserChange = {
  userId,
  version: 1n,
  eventId: "e1",
  sourcePosition: 1n,
  kind: "registered",
  opening: undefined,
};
const imported: UserChange = { ...registered, opening: { quotaBytes: 500n, usedBytes: 450n } };

function applyAll(changes: readonly UserChange[], account = provisional) {
  const journal = newJournal({ actorId: "auth", at });
  const after = changes.reduce((current, change) => applyUserChange(journal, current, change), account);
  return { journal, after };
}

test("an imported user opens with one entry, the limit that it came with, and the thresholds that are passed", () => {
  const { journal, after } = applyAll([imported, imported]);
  expect(after).toMatchObject({ usedBytes: 450n, openingBytes: 450n, quotaBytes: 500n, quotaSource: "import" });
  expect(journal.entries).toHaveLength(1);
  expect(journal.entries[0]).toMatchObject({ kind: "opening", deltaBytes: 450n, entryId: 1n, eventId: "e1" });
  expect(journal.crossings.map((crossing) => crossing.thresholdPercent)).toEqual([80, 90]);
});

test("an opening adds to what facts have charged before, and leaves the limit of an admin alone", () => {
  const { after } = applyAll([imported], { ...provisional, usedBytes: 7n, quotaBytes: 9_999n, quotaSource: "admin" });
  expect(after).toMatchObject({ usedBytes: 457n, openingBytes: 450n, quotaBytes: 9_999n, quotaSource: "admin" });
});

test("the same events end alike in every order, with every repetition", () => {
  const events: UserChange[] = [
    imported,
    { userId, version: 2n, eventId: "e2", sourcePosition: 1n, kind: "deactivated" },
    { userId, version: 3n, eventId: "e3", sourcePosition: 1n, kind: "activated" },
    { userId, version: 4n, eventId: "e4", sourcePosition: 1n, kind: "deactivated" },
  ];
  const deleted: UserChange = { userId, version: 5n, eventId: "e5", sourcePosition: 1n, kind: "deleted" };
  const repeated = (list: UserChange[]) => fc.shuffledSubarray([...list, ...list], { minLength: list.length * 2 });
  fc.assert(
    fc.property(repeated(events), (order) => {
      expect(applyAll(order).after).toMatchObject({ state: "inactive", isProvisional: false, usedBytes: 450n });
    }),
  );
  fc.assert(
    fc.property(repeated([...events, deleted]), (order) => {
      expect(applyAll(order).after).toMatchObject({ state: "closed", isProvisional: false, usedBytes: 450n });
    }),
  );
});
