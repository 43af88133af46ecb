import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { toDuration } from "#platform/rpc/time.ts";
import type { Deps } from "../deps.ts";
import type { AttemptKey } from "./attempts.store.ts";
import {
  deleteReturn,
  insertReturn,
  postponeReturn,
  type ReservationReturn,
  readDueReturns,
} from "./reservation-returns.store.ts";

// Twice the life of an upload, so that a backlog of events cannot outlive the reservation that they close.
const RESERVATION_TTL_MS = 48 * 3_600_000;
const MAX_PAUSE_SECONDS = 600;

export type Reserved =
  | { readonly kind: "held"; readonly reservationId: string }
  /** The key was used up by an earlier attempt. */
  | { readonly kind: "used_up" }
  /** user-quota said no: this call holds nothing. */
  | { readonly kind: "refused"; readonly reason: string; readonly error: unknown }
  /** No answer: something may be held. */
  | { readonly kind: "unknown"; readonly error: unknown };

type ReservationDeps = Pick<Deps, "userQuota" | "pool" | "clock" | "log">;

export async function reserve(
  deps: Pick<Deps, "userQuota">,
  key: AttemptKey,
  asked: { readonly userId: string; readonly sizeBytes: bigint },
  ttlMs = RESERVATION_TTL_MS,
): Promise<Reserved> {
  try {
    const { reservation } = await deps.userQuota.reserveStorage({
      userId: asked.userId,
      sizeBytes: asked.sizeBytes,
      idempotencyKey: `${key.uploadId}/${key.attempt}`,
      ttl: toDuration(ttlMs),
    });
    if (reservation === undefined) throw new Error("user-quota answered without a reservation");
    return { kind: "held", reservationId: reservation.reservationId };
  } catch (error) {
    const reason = refusalOf(error);
    if (reason === undefined) return { kind: "unknown", error };
    return USED_UP.has(reason) ? { kind: "used_up" } : { kind: "refused", reason, error };
  }
}

const USED_UP: ReadonlySet<string> = new Set(["RESERVATION_CLOSED", "IDEMPOTENCY_KEY_REUSED"]);
// Refusals that do not tell whether the reservation was made.
const UNCERTAIN: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.Internal,
  Code.Unknown,
  Code.Canceled,
  Code.Aborted,
]);

// A look at the account or at the reservation. Overload or a token that was not accepted tell nothing of what is held.
const NOTHING_HELD: ReadonlySet<string> = new Set([
  "QUOTA_EXCEEDED",
  "ACCOUNT_NOT_FOUND",
  "ACCOUNT_CLOSED",
  "ACCOUNT_INACTIVE",
  "RESERVATION_CLOSED",
  "RESERVATION_NOT_FOUND",
]);

/** The reason that user-quota itself gave; undefined where it did not decide. */
function refusalOf(error: unknown): string | undefined {
  if (!(error instanceof ConnectError) || !error.isWireError || UNCERTAIN.has(error.code)) return undefined;
  return error.findDetails(ErrorInfoSchema)[0]?.reason ?? "";
}

/**
 * Gives a reservation back. It is written down before user-quota is asked, so that neither its absence nor a crash here
 * leaves bytes reserved until they expire: `startReservationReturns` does what this call could not.
 */
export async function giveBack(deps: ReservationDeps, owed: ReservationReturn): Promise<void> {
  await insertReturn(deps.pool, owed, deps.clock.now().add({ seconds: 5 }));
  await settleReturn(deps, owed);
}

/** Tries once; true where nothing is owed any more. Failures are logged and left to the next round. */
export async function settleReturn(deps: ReservationDeps, owed: ReservationReturn): Promise<boolean> {
  try {
    const reservationId = owed.reservationId ?? (await findReservation(deps, owed));
    if (reservationId !== undefined) await release(deps, reservationId);
    await deleteReturn(deps.pool, owed);
    return true;
  } catch (error) {
    deps.log.warn(
      { err: error, uploadId: owed.uploadId, attempt: owed.attempt },
      "a reservation is not given back yet",
    );
    return false;
  }
}

/** Asking again with the same key tells whether there is a reservation; one that only now came to be expires at once. */
async function findReservation(deps: ReservationDeps, owed: ReservationReturn): Promise<string | undefined> {
  const found = await reserve(deps, owed, owed, 1_000);
  if (found.kind === "held") return found.reservationId;
  if (found.kind === "unknown" || (found.kind === "refused" && !NOTHING_HELD.has(found.reason))) throw found.error;
  return undefined;
}

async function release(deps: ReservationDeps, reservationId: string): Promise<void> {
  try {
    await deps.userQuota.releaseReservation({ reservationId });
  } catch (error) {
    // Closed or never known: nothing is held, which is all that is wanted.
    if (!NOTHING_HELD.has(refusalOf(error) ?? "")) throw error;
  }
}

/**
 * One round over what is owed; answers how much was settled. It ends with the first failure: where user-quota does not
 * answer, each further one would be waited for, and with it everything else that the sweeper does.
 */
export async function returnReservations(deps: ReservationDeps, limit = 50): Promise<number> {
  let settled = 0;
  for (const owed of await readDueReturns(deps.pool, deps.clock.now(), limit)) {
    if (!(await settleReturn(deps, owed))) {
      const seconds = Math.min(MAX_PAUSE_SECONDS, 5 * 2 ** owed.tries);
      await postponeReturn(deps.pool, owed, deps.clock.now().add({ seconds }));
      return settled;
    }
    settled += 1;
  }
  return settled;
}
