import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { GetUserUsageResponseSchema } from "#gen/decentrastore/node_registry/v1/chunk_service_pb.ts";
import { LedgerEntryKind } from "#gen/decentrastore/user_quota/v1/ledger_entry_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import type { Consumption } from "#platform/inbox/consumption.ts";
import { querySuperuser } from "#platform/testing/event-kit.ts";
import type { UsageClient } from "../deps.ts";
import { anyHash, chunkReleased, chunkStored, userRegistered } from "../testing/events.ts";
import { admin, createFixture, type Fixture } from "../testing/fixture.ts";
import { expectSoundBooks } from "../testing/invariants.ts";
import { sampleOnce } from "./sampler.worker.ts";

/** A node-registry that counts what it is told, and answers each time with the next position. */
function createRegistry() {
  const state = { chargedBytes: 0n, outboxPosition: 0n, isPublished: true, onAsk: async () => {} };
  const client: UsageClient = {
    getUserUsage: async () => {
      await state.onAsk();
      const { chargedBytes, outboxPosition, isPublished } = state;
      return create(GetUserUsageResponseSchema, { chargedBytes, outboxPosition, isPublished });
    },
  };
  return { state, client };
}

/** A consumer that has applied all that node-registry has published, or what the test says. */
function createConsumption(applied = 1): { state: Consumption; ask: () => Promise<Consumption> } {
  const state = { end: 1, applied };
  return { state, ask: async () => ({ ...state }) };
}

/** Runs a call while the fixture's clock goes on whenever somebody sleeps. */
async function whileTimePasses<T>(fixture: Fixture, call: Promise<T>): Promise<T> {
  const done = new AbortController();
  const settled = call.finally(() => done.abort());
  while (!done.signal.aborted) {
    await Promise.race([settled.catch(() => {}), fixture.clock.untilSleeping()]);
    await fixture.clock.advance(500);
  }
  return settled;
}

test("where nothing differs nothing is written, and openings are left alone", async () => {
  const { state, client } = createRegistry();
  await using fixture = await createFixture({ registry: client, chunkConsumption: createConsumption().ask });
  const userId = randomUUID();
  await fixture.userEvents(userRegistered(userId, { storageQuotaBytes: 5_000n, storageUsedBytes: 700n }));
  const event = chunkStored(userId, 100n);
  await fixture.chunkEvents(event);
  Object.assign(state, { chargedBytes: 100n, outboxPosition: event.sequence });
  const answer = await fixture.as(admin).reconcileUsage({ userId });
  expect(answer).toMatchObject({ ledgerChargedBytes: 100n, registryChargedBytes: 100n });
  expect(answer.ledgerEntry).toBeUndefined();
  expect(answer.quota?.storageUsedBytes).toBe(800n);
});

test("a difference that stays is corrected by one adjustment with actor and reason", async () => {
  const { state, client } = createRegistry();
  await using fixture = await createFixture({ registry: client, chunkConsumption: createConsumption().ask });
  const userId = await fixture.account();
  const event = chunkStored(userId, 100n);
  await fixture.chunkEvents(event);
  Object.assign(state, { chargedBytes: 70n, outboxPosition: event.sequence });
  const call = fixture.as(admin).reconcileUsage({ userId, reason: "after the restore" });
  const answer = await whileTimePasses(fixture, call);
  expect(answer.ledgerEntry).toMatchObject({
    kind: LedgerEntryKind.ADJUSTMENT,
    deltaBytes: -30n,
    usedAfterBytes: 70n,
    reason: "after the restore",
    actorId: admin.kind === "user" ? admin.userId : "",
  });
  expect(answer.quota?.storageUsedBytes).toBe(70n);
  const again = await fixture.as(admin).reconcileUsage({ userId });
  expect(again.ledgerEntry).toBeUndefined();
});

test("several who reconcile at once, or one who repeats the call, correct a difference once", async () => {
  const { state, client } = createRegistry();
  await using fixture = await createFixture({ registry: client, chunkConsumption: createConsumption().ask });
  const userId = await fixture.account();
  const event = chunkStored(userId, 100n);
  await fixture.chunkEvents(event);
  Object.assign(state, { chargedBytes: 70n, outboxPosition: event.sequence });
  const calls = Promise.all([1, 2, 3].map(() => fixture.as(admin).reconcileUsage({ userId, reason: "twice" })));
  const answers = await whileTimePasses(fixture, calls);
  expect(answers.map(({ quota }) => quota?.storageUsedBytes)).toEqual([70n, 70n, 70n]);
  expect(answers.flatMap(({ ledgerEntry }) => ledgerEntry?.deltaBytes ?? [])).toEqual([-30n]);
  await expectSoundBooks(fixture.pool);
});

test("traffic while it is compared does not matter: both sides are read at one position", async () => {
  const { state, client } = createRegistry();
  await using fixture = await createFixture({ registry: client, chunkConsumption: createConsumption().ask });
  const userId = await fixture.account();
  let truth = 0n;
  // Each look sees another chunk in the registry and in the ledger, and one that only the ledger has heard of.
  state.onAsk = async () => {
    const [before, after] = [chunkStored(userId, 100n), chunkStored(userId, 1n)];
    await fixture.chunkEvents(before, after);
    truth += 100n;
    Object.assign(state, { chargedBytes: truth, outboxPosition: before.sequence });
    truth += 1n;
  };
  expect((await whileTimePasses(fixture, fixture.as(admin).reconcileUsage({ userId }))).ledgerEntry).toBeUndefined();
  // The registry has lost a chunk that was charged.
  truth -= 500n;
  const drifted = await whileTimePasses(fixture, fixture.as(admin).reconcileUsage({ userId }));
  expect(drifted.ledgerEntry?.deltaBytes).toBe(-500n);
});

test("events that are still on their way make it wait, and then say so", async () => {
  const { state, client } = createRegistry();
  const consumption = createConsumption();
  let asked = 0;
  let onAsk = async () => {};
  const ask = async () => {
    asked += 1;
    await onAsk();
    return consumption.ask();
  };
  await using fixture = await createFixture({ registry: client, chunkConsumption: ask });
  const userId = await fixture.account();
  const event = chunkStored(userId, 100n);
  Object.assign(state, { chargedBytes: 100n, outboxPosition: event.sequence });
  Object.assign(consumption.state, { end: 2 });
  const call = whileTimePasses(fixture, fixture.as(admin).reconcileUsage({ userId }));
  expect(await refusalOf(call)).toBe("LEDGER_BEHIND");
  asked = 0;
  onAsk = async () => {
    if (asked === 4) await fixture.chunkEvents(event);
  };
  const answer = await whileTimePasses(fixture, fixture.as(admin).reconcileUsage({ userId }));
  expect(answer).toMatchObject({ ledgerChargedBytes: 100n, registryChargedBytes: 100n });
  expect(answer.ledgerEntry).toBeUndefined();
});

/** The reason of a refusal. */
async function refusalOf(call: Promise<unknown>): Promise<unknown> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return error instanceof ConnectError ? error.findDetails(ErrorInfoSchema)[0]?.reason : error;
}

test("events that were lost are waited for only until all that was published is applied", async () => {
  const { state, client } = createRegistry();
  const consumption = createConsumption(0);
  await using fixture = await createFixture({ registry: client, chunkConsumption: consumption.ask });
  const userId = await fixture.account();
  const reconcile = () => whileTimePasses(fixture, fixture.as(admin).reconcileUsage({ userId }));
  // Nothing else happens: no event behind the lost one will ever tell that it is not coming.
  Object.assign(state, { chargedBytes: 100n, outboxPosition: chunkStored(userId, 100n).sequence });
  expect(await refusalOf(reconcile())).toBe("LEDGER_BEHIND");
  Object.assign(state, { isPublished: false });
  Object.assign(consumption.state, { applied: 1 });
  expect(await refusalOf(reconcile())).toBe("LEDGER_BEHIND");
  Object.assign(state, { isPublished: true });
  expect((await reconcile()).ledgerEntry).toMatchObject({ kind: LedgerEntryKind.ADJUSTMENT, deltaBytes: 100n });
  expect((await reconcile()).ledgerEntry).toBeUndefined();
});

test("an event that waits after a failure is not made up for, whatever later events were applied", async () => {
  const { state, client } = createRegistry();
  const consumption = createConsumption();
  await using fixture = await createFixture({ registry: client, chunkConsumption: consumption.ask });
  const userId = await fixture.account();
  const reconcile = () => whileTimePasses(fixture, fixture.as(admin).reconcileUsage({ userId }));
  const [waiting, later] = [chunkStored(userId, 100n), chunkStored(await fixture.account(), 1n)];
  await fixture.chunkEvents(later);
  Object.assign(state, { chargedBytes: 100n, outboxPosition: later.sequence });
  Object.assign(consumption.state, { end: 2 });
  expect(await refusalOf(reconcile())).toBe("LEDGER_BEHIND");
  // The same for one that the relay holds back after a failure.
  Object.assign(consumption.state, { applied: 2 });
  Object.assign(state, { isPublished: false });
  expect(await refusalOf(reconcile())).toBe("LEDGER_BEHIND");
  await fixture.chunkEvents(waiting);
  expect(await reconcile()).toMatchObject({ ledgerChargedBytes: 100n, registryChargedBytes: 100n });
  await expectSoundBooks(fixture.pool);
});

test("a registry whose outbox has forgotten its events is right about what was charged before it was asked", async () => {
  const { state, client } = createRegistry();
  await using fixture = await createFixture({ registry: client, chunkConsumption: createConsumption().ask });
  const userId = await fixture.account();
  await fixture.chunkEvents(chunkStored(userId, 100n));
  Object.assign(state, { chargedBytes: 100n, outboxPosition: 0n });
  const answer = await whileTimePasses(fixture, fixture.as(admin).reconcileUsage({ userId }));
  expect(answer).toMatchObject({ ledgerChargedBytes: 100n, registryChargedBytes: 100n });
  expect(answer.ledgerEntry).toBeUndefined();
  expect(answer.quota?.storageUsedBytes).toBe(100n);
});

test("a correction can make a later refund go below zero: posted, marked, counted and still adding up", async () => {
  const { state, client } = createRegistry();
  await using fixture = await createFixture({ registry: client, chunkConsumption: createConsumption().ask });
  const userId = await fixture.account();
  const chunkHash = anyHash();
  const event = chunkStored(userId, 100n, { chunkHash });
  await fixture.chunkEvents(event);
  Object.assign(state, { chargedBytes: 0n, outboxPosition: event.sequence });
  await whileTimePasses(fixture, fixture.as(admin).reconcileUsage({ userId }));
  await fixture.chunkEvents(chunkReleased(userId, chunkHash, 100n));
  const { ledgerEntries } = await fixture.as(admin).listLedgerEntries({ userId });
  expect(ledgerEntries[0]).toMatchObject({ kind: LedgerEntryKind.REFUND, isAnomaly: true, usedAfterBytes: -100n });
  const metric = await fixture.deps.metrics.registry.getSingleMetric("decentrastore_quota_anomalies_total")?.get();
  expect(metric?.values[0]?.value).toBe(1);
});

test("the sampler finds drift of each kind and shows it as a metric whose target is 0", async () => {
  const { state, client } = createRegistry();
  await using fixture = await createFixture({ registry: client, chunkConsumption: createConsumption().ask });
  const userId = await fixture.account();
  const event = chunkStored(userId, 100n);
  await fixture.chunkEvents(event);
  Object.assign(state, { chargedBytes: 100n, outboxPosition: event.sequence });
  const drift = async () => {
    await whileTimePasses(fixture, sampleOnce(fixture.deps, 10));
    const metric = await fixture.deps.metrics.registry.getSingleMetric("decentrastore_quota_drift_bytes")?.get();
    return Object.fromEntries(metric?.values.map(({ labels, value }) => [labels.kind, value]) ?? []);
  };
  expect(await drift()).toEqual({ ledger: 0, reserved: 0, registry: 0 });
  state.chargedBytes = 60n;
  expect(await drift()).toEqual({ ledger: 0, reserved: 0, registry: 40 });
  await querySuperuser(
    fixture.db,
    "update user_quota.accounts set storage_used_bytes = 107, storage_reserved_bytes = 3",
  );
  state.chargedBytes = 107n;
  expect(await drift()).toEqual({ ledger: 7, reserved: 3, registry: 0 });
  await expect(expectSoundBooks(fixture.pool)).rejects.toThrow();
});
