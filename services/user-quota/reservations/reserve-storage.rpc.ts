import type { MethodImpl } from "@connectrpc/connect";
import type { UserQuotaService } from "#gen/decentrastore/user_quota/v1/user_quota_service_pb.ts";
import type { Transaction } from "#platform/postgres/pool.ts";
import { type Caller, serviceCallerOf } from "#platform/rpc/caller.ts";
import type { RpcError } from "#platform/rpc/errors.ts";
import { fromDuration } from "#platform/rpc/time.ts";
import { validate } from "#platform/rpc/validate.ts";
import { uuidv7 } from "#platform/time/uuid.ts";
import { lockAccount } from "../accounts/accounts.store.ts";
import type { Deps } from "../deps.ts";
import {
  accountClosed,
  accountInactive,
  accountNotFound,
  idempotencyKeyReused,
  quotaExceeded,
  reservationClosed,
} from "../errors.ts";
import { admit, type Refusal } from "./admission.ts";
import { asOf, type Reservation } from "./reservation.ts";
import {
  findByKey,
  foldOverdue,
  freeBytes,
  insertReservation,
  type ReservationKey,
  tryReserve,
} from "./reservations.store.ts";
import { toProtoReservation } from "./to-proto.ts";
import { createTurns } from "./turns.ts";

const SECOND = 1_000;
const DAY = 86_400 * SECOND;

interface Ask extends ReservationKey {
  readonly sizeBytes: bigint;
  readonly ttlMs: number;
}

/** A second call that already waits for the row keeps the lock busy between commit and next begin. */
const turnLimits = { perKey: 3, maxWaiting: 2_000 };

export function reserveStorage(deps: Deps): MethodImpl<typeof UserQuotaService.method.reserveStorage> {
  const turns = createTurns(turnLimits);
  return async ({ userId, sizeBytes, idempotencyKey, ttl }, context) => {
    validate((check) => {
      check.uuid("user_id", userId);
      check.int("size_bytes", sizeBytes, { min: 1 });
      check.text("idempotency_key", idempotencyKey, { min: 1, max: 255 });
      check.durationPresent("ttl", ttl, { minMs: SECOND, maxMs: 7 * DAY });
    });
    const caller = serviceCallerOf(context);
    const ttlMs = ttl === undefined ? 0 : fromDuration(ttl);
    const ask = { userId: userId.toLowerCase(), clientId: caller.clientId, idempotencyKey, sizeBytes, ttlMs };
    const outcome = await turns.run(ask.userId, () => {
      // Nobody waits for the answer any more: what would be reserved now would be held for nothing.
      context.signal.throwIfAborted();
      return reserve(deps, ask);
    });
    if (outcome.kind !== "reserved") throw refusalOf(outcome, ask, caller);
    return { reservation: toProtoReservation(outcome.reservation) };
  };
}

type Outcome =
  | { readonly kind: "reserved"; readonly reservation: Reservation }
  | { readonly kind: "missing" }
  | Refusal;

async function reserve(deps: Deps, ask: Ask): Promise<Outcome> {
  const reservation = newReservation(deps, ask, deps.clock.now());
  if (await tryReserve(deps.pool, reservation)) return { kind: "reserved", reservation };
  return deps.pool.transaction((tx) => lookCloser(deps, tx, ask));
}

/** Refusals are returned and not thrown, so that what was folded out on the way is committed. */
async function lookCloser(deps: Deps, tx: Transaction, ask: Ask): Promise<Outcome> {
  const account = await lockAccount(tx, ask.userId);
  if (account === undefined) return { kind: "missing" };
  const now = deps.clock.now();
  const existing = await findByKey(tx, ask);
  const freedBytes = await foldOverdue(tx, ask.userId, now);
  const folded = { ...account, reservedBytes: account.reservedBytes - freedBytes };
  const admission = admit(folded, existing === null ? undefined : asOf(existing, now), ask.sizeBytes);
  if (admission.kind === "admitted") {
    const reservation = newReservation(deps, ask, now);
    await insertReservation(tx, reservation, freedBytes);
    return { kind: "reserved", reservation };
  }
  await freeBytes(tx, ask.userId, freedBytes);
  return admission.kind === "repeated" ? { kind: "reserved", reservation: admission.reservation } : admission;
}

/** In whole microseconds, as the database keeps them: a repeat answers the very same reservation. */
function newReservation(deps: Deps, ask: Ask, at: Temporal.Instant): Reservation {
  const now = at.round("microsecond");
  return {
    reservationId: uuidv7(deps.clock),
    userId: ask.userId,
    clientId: ask.clientId,
    idempotencyKey: ask.idempotencyKey,
    sizeBytes: ask.sizeBytes,
    postedBytes: 0n,
    heldBytes: ask.sizeBytes,
    expectedBytes: null,
    state: "held",
    createdAt: now,
    expiresAt: now.add({ milliseconds: Math.round(ask.ttlMs) }),
  };
}

function refusalOf(refusal: Refusal | { kind: "missing" }, ask: Ask, caller: Caller): RpcError {
  switch (refusal.kind) {
    case "missing":
      return accountNotFound(caller);
    case "account_closed":
      return accountClosed();
    case "account_inactive":
      return accountInactive();
    case "key_reused":
      return idempotencyKeyReused(refusal.sizeBytes);
    case "reservation_closed":
      return reservationClosed(refusal.state);
    case "quota_exceeded": {
      const { userId, quotaBytes: limitBytes, usedBytes, reservedBytes } = refusal.account;
      return quotaExceeded({ userId, limitBytes, usedBytes, reservedBytes, askedBytes: ask.sizeBytes });
    }
  }
}
