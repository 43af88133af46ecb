import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { beforeAll, expect, test } from "vitest";
import { LedgerEntryKind } from "#gen/decentrastore/user_quota/v1/ledger_entry_pb.ts";
import { AccountState, QuotaSource } from "#gen/decentrastore/user_quota/v1/quota_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { toDuration } from "#platform/rpc/time.ts";
import { querySuperuser } from "#platform/testing/event-kit.ts";
import { chunkStored, userChanged, userRegistered } from "../testing/events.ts";
import { admin, createFixture, type Fixture, gateway, userCaller } from "../testing/fixture.ts";
import { announcedThresholds, expectSoundBooks } from "../testing/invariants.ts";

let fixture: Fixture;
beforeAll(async () => {
  fixture = await createFixture();
  return async () => {
    await expectSoundBooks(fixture.pool);
    await fixture[Symbol.asyncDispose]();
  };
});

async function reasonOf(call: Promise<unknown>): Promise<string | undefined> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ConnectError) return error.findDetails(ErrorInfoSchema)[0]?.reason;
    throw error;
  }
  return "not refused";
}

function explain(userId: string) {
  return fixture.as(admin).explainQuota({ userId });
}

test("a user who asks for an own account gets one; nobody else can make one up", async () => {
  const userId = randomUUID();
  expect(await reasonOf(fixture.as(admin).getQuota({ userId }))).toBe("ACCOUNT_NOT_FOUND");
  expect(await reasonOf(fixture.as(gateway).getQuota({ userId }))).toBe("ACCOUNT_NOT_FOUND");
  const { quota } = await fixture.as(userCaller(userId.toUpperCase())).getQuota({ userId });
  expect(quota).toMatchObject({ userId, storageQuotaBytes: 10_737_418_240n, isOverQuota: false });
});

test("a registration opens an account with the default limit, once", async () => {
  const userId = randomUUID();
  const event = userRegistered(userId);
  await fixture.userEvents(event, event);
  await fixture.userEvents(event);
  expect(await explain(userId)).toMatchObject({
    quota: { storageQuotaBytes: 10_737_418_240n, storageUsedBytes: 0n, storageReservedBytes: 0n },
    accountState: AccountState.ACTIVE,
    isProvisional: false,
    quotaOrigin: { source: QuotaSource.DEFAULT, actorId: "", reason: "" },
    ledgerEntries: [],
  });
});

test("an imported user keeps limit and use, whatever came first", async () => {
  const userId = randomUUID();
  const event = userRegistered(userId, { storageQuotaBytes: 1_000n, storageUsedBytes: 850n });
  await fixture.chunkEvents(chunkStored(userId, 100n));
  await fixture.userEvents(event, event);
  await fixture.userEvents(event);
  const explanation = await explain(userId);
  expect(explanation).toMatchObject({
    quota: { storageQuotaBytes: 1_000n, storageUsedBytes: 950n },
    quotaOrigin: { source: QuotaSource.IMPORT },
    crossedThresholdsPercent: [80, 90],
  });
  expect(explanation.ledgerEntries.map((entry) => entry.kind)).toEqual([
    LedgerEntryKind.OPENING,
    LedgerEntryKind.LATE_CHARGE,
  ]);
  expect(await announcedThresholds(fixture.pool, userId)).toEqual([80, 90]);
});

test("accounts follow their users, also out of order", async () => {
  const userId = randomUUID();
  await fixture.userEvents(userChanged("activated", userId, 3n));
  await fixture.userEvents(userChanged("deactivated", userId, 2n));
  expect(await explain(userId)).toMatchObject({ accountState: AccountState.ACTIVE, isProvisional: true });
  await fixture.userEvents(userChanged("deactivated", userId, 4n), userRegistered(userId));
  expect(await explain(userId)).toMatchObject({ accountState: AccountState.INACTIVE, isProvisional: false });
  await fixture.userEvents(userChanged("deleted", userId, 6n), userChanged("activated", userId, 7n));
  expect(await explain(userId)).toMatchObject({ accountState: AccountState.CLOSED });
});

test("deletion before registration leaves a closed account", async () => {
  const userId = randomUUID();
  await fixture.userEvents(userChanged("deleted", userId, 2n));
  await fixture.userEvents(userRegistered(userId));
  expect(await explain(userId)).toMatchObject({ accountState: AccountState.CLOSED, isProvisional: false });
  const request = { userId, storageQuotaBytes: 1n, reason: "no" };
  expect(await reasonOf(fixture.as(admin).setQuota(request))).toBe("ACCOUNT_CLOSED");
});

test("a user's account stays right when two processes open it at once", async () => {
  const userId = randomUUID();
  await Promise.all([
    fixture.userEvents(userRegistered(userId)),
    fixture.as(userCaller(userId)).getQuota({ userId }),
    fixture.chunkEvents(chunkStored(userId, 5n)),
    fixture.userEvents(userRegistered(userId)),
  ]);
  expect(await explain(userId)).toMatchObject({ quota: { storageUsedBytes: 5n }, isProvisional: false });
});

test("a limit is set with a reason, audited, and setting it again adds nothing", async () => {
  const userId = await fixture.account();
  const request = { userId, storageQuotaBytes: 500n, reason: "trial" };
  await fixture.as(admin).setQuota(request);
  await fixture.as(admin).setQuota(request);
  const { quotaOrigin, ledgerEntries } = await explain(userId);
  const actorId = admin.kind === "user" ? admin.userId : "";
  expect(quotaOrigin).toMatchObject({ source: QuotaSource.ADMIN, actorId, reason: "trial" });
  expect(ledgerEntries).toHaveLength(1);
  expect(ledgerEntries[0]).toMatchObject({
    kind: LedgerEntryKind.QUOTA_CHANGE,
    deltaBytes: 0n,
    storageQuotaBytes: 500n,
    actorId,
    reason: "trial",
  });
});

test("a limit below the use is allowed: reads, releases and facts go on, reservations do not", async () => {
  const userId = await fixture.account(1_000n);
  const ask = { userId, sizeBytes: 100n, idempotencyKey: "a", ttl: toDuration(60_000) };
  const { reservation } = await fixture.as(gateway).reserveStorage(ask);
  await fixture.chunkEvents(chunkStored(userId, 600n));
  const { quota } = await fixture.as(admin).setQuota({ userId, storageQuotaBytes: 0n, reason: "none" });
  expect(quota).toMatchObject({ isOverQuota: true, storageUsedBytes: 600n, storageReservedBytes: 100n });
  expect(await reasonOf(fixture.as(gateway).reserveStorage({ ...ask, idempotencyKey: "b" }))).toBe("QUOTA_EXCEEDED");
  await fixture.chunkEvents(chunkStored(userId, 40n, { reservationId: reservation?.reservationId ?? "" }));
  await fixture.as(gateway).releaseReservation({ reservationId: reservation?.reservationId ?? "" });
  expect((await explain(userId)).quota).toMatchObject({ storageUsedBytes: 640n, storageReservedBytes: 0n });
});

test.each([
  ["storage_quota_bytes", { storageQuotaBytes: -1n }],
  ["reason", { reason: "" }],
  ["reason", { reason: "r".repeat(501) }],
  ["user_id", { userId: "nobody" }],
])("a bad %s is refused by name", async (field, over) => {
  const request = { userId: randomUUID(), storageQuotaBytes: 1n, reason: "test", ...over };
  await expect(fixture.as(admin).setQuota(request)).rejects.toMatchObject({
    code: Code.InvalidArgument,
    rawMessage: expect.stringContaining(field),
  });
});

test("accounts are listed in stable pages, over quota or above a percentage", async () => {
  const own = await createFixture();
  await using _own = own;
  // A UUID of no version that RFC 9562 knows, as an imported user may have it.
  const first = "11111111-1111-0111-0111-111111111111";
  await own.userEvents(userRegistered(first, { storageQuotaBytes: 100n, storageUsedBytes: 0n }));
  const users = [first, ...(await Promise.all(Array.from({ length: 11 }, () => own.account(100n))))];
  await own.chunkEvents(...users.map((userId, index) => chunkStored(userId, BigInt(index + 1) * 10n)));
  const list = async (filter: { onlyOverQuota?: boolean; minUsedPercent?: number }) => {
    const found: string[] = [];
    for (let pageToken = ""; ; ) {
      const page = await own.as(admin).listAccounts({ ...filter, pageSize: 1, pageToken });
      found.push(...page.quotas.map((quota) => quota.userId));
      pageToken = page.nextPageToken;
      if (pageToken === "") return found;
    }
  };
  expect(await list({})).toEqual(users.toSorted());
  expect(await list({ onlyOverQuota: true })).toEqual(users.slice(10).toSorted());
  expect(await list({ minUsedPercent: 80 })).toEqual(users.slice(7).toSorted());
  expect(await list({ minUsedPercent: 120 })).toEqual(users.slice(11));
  await expect(own.as(admin).listAccounts({ minUsedPercent: -1 })).rejects.toThrow("min_used_percent");
  await expect(own.as(admin).listAccounts({ pageSize: 1_001 })).rejects.toThrow("page_size");
  await expect(own.as(admin).listAccounts({ pageToken: "nonsense" })).rejects.toThrow("page_token");
});

test("an explanation names each living reservation with holder and expiry, first to expire first", async () => {
  const userId = await fixture.account(1_000n);
  for (const [index, ttlMs] of [50_000, 2_000, 90_000].entries()) {
    const ask = { userId, sizeBytes: 10n, idempotencyKey: `key ${index}`, ttl: toDuration(ttlMs) };
    await fixture.as(gateway).reserveStorage(ask);
  }
  fixture.clock.jump(2_000);
  const { reservations, totalReservations, quota } = await explain(userId);
  expect(reservations.map((holding) => [holding.idempotencyKey, holding.clientId, holding.heldBytes])).toEqual([
    ["key 0", "gateway", 10n],
    ["key 2", "gateway", 10n],
  ]);
  expect([totalReservations, quota?.storageReservedBytes]).toEqual([2, 20n]);
});

test("a ledger is listed newest first in stable pages, and belongs to its user", async () => {
  const userId = await fixture.account();
  await fixture.chunkEvents(...Array.from({ length: 7 }, () => chunkStored(userId, 1n)));
  const first = await fixture.as(admin).listLedgerEntries({ userId, pageSize: 4 });
  await fixture.chunkEvents(chunkStored(userId, 1n));
  const second = await fixture.as(admin).listLedgerEntries({ userId, pageSize: 4, pageToken: first.nextPageToken });
  const ids = [...first.ledgerEntries, ...second.ledgerEntries].map((entry) => Number(entry.ledgerEntryId));
  expect(ids).toEqual([7, 6, 5, 4, 3, 2, 1]);
  expect(second.nextPageToken).toBe("");
  expect(await reasonOf(fixture.as(admin).listLedgerEntries({ userId: randomUUID() }))).toBe("ACCOUNT_NOT_FOUND");
});

test.each([
  "update user_quota.ledger_entries set delta_bytes = 0",
  "delete from user_quota.ledger_entries",
  "truncate user_quota.ledger_entries",
  "truncate user_quota.ledger_entries_3",
  "delete from user_quota.ledger_entries_0",
])("the database refuses `%s`, to the service by its rights and to everybody by a trigger", async (statement) => {
  const users = await Promise.all(Array.from({ length: 40 }, () => fixture.account()));
  await fixture.chunkEvents(...users.map((userId) => chunkStored(userId, 1n)));
  await expect(querySuperuser(fixture.db, `set role user_quota_app; ${statement}`)).rejects.toThrow(
    "permission denied",
  );
  await expect(querySuperuser(fixture.db, statement)).rejects.toThrow("ledger entries are never changed");
});

test("entries of every kind are counted, whether an event or an admin caused them", async () => {
  await using own = await createFixture();
  const userId = randomUUID();
  await own.userEvents(userRegistered(userId, { storageQuotaBytes: 100n, storageUsedBytes: 10n }));
  await own.as(admin).setQuota({ userId, storageQuotaBytes: 200n, reason: "more" });
  await own.as(admin).setQuota({ userId, storageQuotaBytes: 200n, reason: "again" });
  await own.chunkEvents(chunkStored(userId, 10n));
  const metric = await own.deps.metrics.registry.getSingleMetric("decentrastore_quota_ledger_entries_total")?.get();
  const counts = metric?.values.map(({ labels, value }) => [labels.kind, value]) ?? [];
  expect(Object.fromEntries(counts)).toEqual({ opening: 1, quota_change: 1, late_charge: 1 });
});
