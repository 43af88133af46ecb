import { randomUUID } from "node:crypto";
import { ConnectError } from "@connectrpc/connect";
import fc from "fast-check";
import { expect } from "vitest";
import { ReservationState } from "#gen/decentrastore/user_quota/v1/reservation_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { toDuration } from "#platform/rpc/time.ts";
import { sweepOnce } from "../reservations/sweeper.worker.ts";
import { chunkReleased, chunkStored, uploadCompleted, userChanged } from "./events.ts";
import { admin, type Fixture, gateway } from "./fixture.ts";
import { announcedThresholds } from "./invariants.ts";
import {
  applyFact,
  changeUse,
  type Delivery,
  type Model,
  type ModelFact,
  type ModelReservation,
  reservedOf,
  stateOf,
} from "./model.ts";

export type Command = fc.AsyncCommand<Model, Fixture>;

const USERS = 2;
export const user = fc.nat(USERS - 1);
const size = fc.integer({ min: 1, max: 60 });

/** A command that can always run; `text` is what a counterexample shows. */
function command(text: string, run: (model: Model, real: Fixture) => Promise<void>): Command {
  return {
    check: () => true,
    run: async (model, real) => {
      await run(model, real);
      await expectAlike(model, real);
    },
    toString: () => text,
  };
}

async function reasonOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "";
  } catch (error) {
    return (error instanceof ConnectError ? error.findDetails(ErrorInfoSchema)[0]?.reason : undefined) ?? String(error);
  }
}

const reserve = fc.record({ user, size, ttlMs: fc.integer({ min: 1_000, max: 9_000 }), key: fc.nat(5) }).map((ask) =>
  command(`reserve ${JSON.stringify(ask)}`, async (model, real) => {
    const owner = model.users[ask.user];
    if (owner === undefined) return;
    const key = String(ask.key);
    const existing = model.reservations.find((one) => one.user === ask.user && one.key === key);
    const call = real.as(gateway).reserveStorage({
      userId: owner.userId,
      sizeBytes: BigInt(ask.size),
      idempotencyKey: key,
      ttl: toDuration(ask.ttlMs),
    });
    const reason = await reasonOf(call);
    if (existing !== undefined) {
      const isHeld = stateOf(model, existing) === "held";
      const isSame = existing.size === ask.size;
      expect(reason).toBe(isSame ? (isHeld ? "" : "RESERVATION_CLOSED") : "IDEMPOTENCY_KEY_REUSED");
      if (reason === "") expect((await call).reservation?.reservationId).toBe(existing.id);
      return;
    }
    const fits = owner.used + reservedOf(model, ask.user) + ask.size <= owner.quota;
    expect(reason).toBe(owner.isActive ? (fits ? "" : "QUOTA_EXCEEDED") : "ACCOUNT_INACTIVE");
    if (reason !== "") return;
    const id = (await call).reservation?.reservationId ?? "";
    const expiresMs = model.nowMs + ask.ttlMs;
    const fresh = { id, key, expiresMs, user: ask.user, size: ask.size, hold: ask.size, posted: 0 };
    model.reservations.push({ ...fresh, expected: undefined, end: undefined });
  }),
);

const release = fc.nat().map((index) =>
  command(`release ${index}`, async (model, real) => {
    const reservation = pick(model.reservations, index);
    if (reservation === undefined) return;
    const state = stateOf(model, reservation);
    const reason = await reasonOf(real.as(gateway).releaseReservation({ reservationId: reservation.id }));
    expect(reason).toBe(state === "closing" || state === "closed" ? "RESERVATION_CLOSED" : "");
    if (state === "held") Object.assign(reservation, { end: "released", hold: 0 });
  }),
);

const facts = fc
  .array(
    fc.record({
      kind: fc.constantFrom("stored" as const, "stored" as const, "released" as const, "ended" as const),
      user,
      chunk: fc.nat(4),
      generation: fc.integer({ min: 1, max: 2 }),
      size,
      reservation: fc.nat(),
      again: fc.boolean(),
    }),
    { minLength: 1, maxLength: 6 },
  )
  .map((wanted) =>
    command(`facts ${JSON.stringify(wanted)}`, async (model, real) => {
      const batch = wanted.flatMap((want) => {
        const repeated = want.again ? pick(model.history, want.reservation) : undefined;
        return repeated ?? deliveryOf(model, want) ?? [];
      });
      for (const { fact } of batch) applyFact(model, fact);
      model.history.push(...batch);
      if (batch.length > 0) await real.chunkEvents(...batch.map(({ event }) => event));
    }),
  );

interface Wanted {
  kind: ModelFact["kind"];
  user: number;
  chunk: number;
  generation: number;
  size: number;
  reservation: number;
}

function deliveryOf(model: Model, want: Wanted): Delivery | undefined {
  const owner = model.users[want.user];
  const reservation = pick(model.reservations, want.reservation);
  if (owner === undefined) return undefined;
  const { userId } = owner;
  const { kind, user, size, generation } = want;
  const chunk = `${userId}/${want.chunk}/${generation}`;
  const chunkHash = String(want.chunk).repeat(64);
  if (kind === "released") {
    return { fact: { kind, user, chunk }, event: chunkReleased(userId, chunkHash, BigInt(size), { generation }) };
  }
  if (kind === "stored") {
    const over = { chunkHash, generation, reservationId: reservation?.id ?? "" };
    return { fact: { kind, user, chunk, size, reservation }, event: chunkStored(userId, BigInt(size), over) };
  }
  return reservation === undefined ? undefined : endOf(model, reservation, size);
}

function endOf(model: Model, reservation: ModelReservation, expected: number): Delivery {
  const userId = model.users[reservation.user]?.userId ?? "";
  const event = uploadCompleted(userId, reservation.id, BigInt(expected));
  return { fact: { kind: "ended", reservation, expected }, event };
}

const pass = fc.integer({ min: 1, max: 4_000 }).map((ms) =>
  command(`pass ${ms} ms`, async (model, real) => {
    model.nowMs += ms;
    real.clock.jump(ms);
  }),
);

const sweep = fc.constant(
  command("sweep", async (_model, real) => {
    await sweepOnce(real.deps);
  }),
);

const setQuota = fc.record({ user, quota: fc.integer({ min: 0, max: 200 }) }).map(({ user, quota }) =>
  command(`set quota of ${user} to ${quota}`, async (model, real) => {
    const owner = model.users[user];
    if (owner === undefined) return;
    const request = { userId: owner.userId, storageQuotaBytes: BigInt(quota), reason: "model" };
    await real.as(admin).setQuota(request);
    if (owner.quota !== quota) changeUse(owner, 0, quota);
  }),
);

const setActive = fc.record({ user, isActive: fc.boolean() }).map(({ user, isActive }) =>
  command(`${isActive ? "activate" : "deactivate"} ${user}`, async (model, real) => {
    const owner = model.users[user];
    if (owner === undefined) return;
    owner.isActive = isActive;
    owner.version += 1;
    const kind = isActive ? "activated" : "deactivated";
    await real.userEvents(userChanged(kind, owner.userId, BigInt(owner.version)));
  }),
);

export const commands = [reserve, reserve, facts, facts, facts, release, pass, sweep, setQuota, setActive];

function pick<T>(list: readonly T[], index: number): T | undefined {
  return list[index % Math.max(1, list.length)];
}

const protoStates = new Map<string, ReservationState>([
  ["held", ReservationState.HELD],
  ["closing", ReservationState.CLOSING],
  ["closed", ReservationState.CLOSED],
  ["released", ReservationState.RELEASED],
  ["expired", ReservationState.EXPIRED],
]);

/** Everything that a client can see. */
async function expectAlike(model: Model, real: Fixture): Promise<void> {
  for (const [index, user] of model.users.entries()) {
    const { quota } = await real.as(admin).getQuota({ userId: user.userId });
    expect(quota).toMatchObject({
      storageUsedBytes: BigInt(user.used),
      storageReservedBytes: BigInt(reservedOf(model, index)),
      storageQuotaBytes: BigInt(user.quota),
      isOverQuota: user.used > user.quota,
    });
    expect(await announcedThresholds(real.pool, user.userId)).toEqual(user.announced);
  }
  for (const one of model.reservations) {
    const { reservation } = await real.as(gateway).getReservation({ reservationId: one.id });
    expect(reservation).toMatchObject({
      state: protoStates.get(stateOf(model, one)),
      postedBytes: BigInt(one.posted),
    });
  }
}

/** A new model with users of its own, so that runs share a database. */
export async function newModel(real: Fixture): Promise<Model> {
  const model: Model = { nowMs: 0, users: [], reservations: [], chunks: new Map(), history: [] };
  for (let index = 0; index < USERS; index += 1) {
    const userId = randomUUID();
    await real.userEvents(userChanged("activated", userId, 1n));
    const armed = new Set([80, 90, 100]);
    model.users.push({ userId, used: 0, quota: 100, isActive: true, version: 1, armed, announced: [] });
  }
  return model;
}
