import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { isAtWork, type ReservationRecord, type UserRecord } from "../history.ts";
import { between, pick, uuidOf } from "../random.ts";
import { askUntilClear, pause } from "./ask.ts";
import { falseRefusal } from "./gateway.ts";
import type { LoadContext } from "./load-context.ts";

const DAY_MS = 86_400_000;

type Patience = Parameters<typeof askUntilClear>[3];
type Context = Pick<LoadContext, "clients" | "history">;

/** A gateway that only sets quota aside and gives it back, as one that changes its mind does. */
export async function runReserver(context: LoadContext): Promise<void> {
  const { history, random, signal } = context;
  const patience = { tries: 3, pauseMs: 300, signal };
  while (!signal.aborted) {
    await pause(between(random, 200, 700), signal);
    const users = history.users.filter(isAtWork);
    if (users.length === 0) continue;
    const record: ReservationRecord = {
      ...ofUser(pick(random, users)),
      key: uuidOf(random),
      sizeBytes: BigInt(Math.round(between(random, 1, 40_000))),
      reservationId: undefined,
      isOver: false,
    };
    history.reservations.push(record);
    await reserve(context, record, patience);
    // The same key again: the same reservation, and nothing more set aside.
    if (record.reservationId !== undefined) await reserve(context, record, patience);
    if (record.reservationId !== undefined && random() < 0.7) await giveBack(context, record, patience);
  }
}

function ofUser(user: UserRecord): Pick<ReservationRecord, "user" | "userId"> {
  return { user, userId: user.userId ?? "" };
}

/** Finds out whether it exists, and gives it back. */
export async function endReservation(context: Context, record: ReservationRecord, patience: Patience): Promise<void> {
  if (record.reservationId === undefined) await reserve(context, record, patience);
  if (record.reservationId !== undefined) await giveBack(context, record, patience);
}

async function reserve({ clients, history }: Context, record: ReservationRecord, patience: Patience): Promise<void> {
  const { userId, key: idempotencyKey, sizeBytes } = record;
  const request = { userId, sizeBytes, idempotencyKey, ttl: durationFromMs(DAY_MS) };
  const call = () => clients.quotas.reserveStorage(request);
  const outcome = await askUntilClear(history, "ReserveStorage", call, patience);
  if (outcome.answer === "unknown") return;
  if (outcome.answer === "refused") {
    history.quotaComplaints.push(...falseRefusal(outcome.refusal));
    if (record.reservationId !== undefined && record.user.deletion === undefined) {
      history.quotaComplaints.push(
        `${idempotencyKey} was reserved, and its repeat is refused: ${outcome.refusal.reason}`,
      );
    }
    record.isOver = true;
    return;
  }
  const reservationId = outcome.value.reservation?.reservationId;
  if (record.reservationId !== undefined && record.reservationId !== reservationId) {
    history.quotaComplaints.push(`${idempotencyKey} gave two reservations: ${record.reservationId}, ${reservationId}`);
  }
  record.reservationId = reservationId;
}

async function giveBack({ clients, history }: Context, record: ReservationRecord, patience: Patience): Promise<void> {
  const reservationId = record.reservationId ?? "";
  const call = () => clients.quotas.releaseReservation({ reservationId });
  const outcome = await askUntilClear(history, "ReleaseReservation", call, patience);
  if (outcome.answer === "refused" && record.user.deletion === undefined) {
    history.quotaComplaints.push(`the reservation ${reservationId} cannot be released: ${outcome.refusal.reason}`);
  }
  record.isOver ||= outcome.answer === "acknowledged";
}
