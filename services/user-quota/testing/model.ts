import type { ReceivedEvent } from "#platform/inbox/received-event.ts";

/** What the service should do, told as simply as possible: numbers in arrays, recomputed from scratch where that is simpler. */
export interface Model {
  nowMs: number;
  readonly users: ModelUser[];
  readonly reservations: ModelReservation[];
  readonly chunks: Map<string, ModelChunk>;
  /** Everything that was ever delivered, to be delivered again. */
  readonly history: Delivery[];
}

export interface ModelUser {
  readonly userId: string;
  used: number;
  quota: number;
  isActive: boolean;
  version: number;
  /** Thresholds that wait to be crossed. */
  readonly armed: Set<number>;
  readonly announced: number[];
}

export interface ModelReservation {
  readonly id: string;
  readonly user: number;
  readonly key: string;
  readonly size: number;
  readonly expiresMs: number;
  posted: number;
  hold: number;
  expected: number | undefined;
  end: "closed" | "released" | undefined;
}

export interface ModelChunk {
  stored: boolean;
  released: boolean;
  charged: number;
}

export type ModelFact =
  | { kind: "stored"; user: number; chunk: string; size: number; reservation: ModelReservation | undefined }
  | { kind: "released"; user: number; chunk: string }
  | { kind: "ended"; reservation: ModelReservation; expected: number };

export interface Delivery {
  readonly fact: ModelFact;
  readonly event: ReceivedEvent;
}

export function stateOf(model: Model, reservation: ModelReservation): string {
  if (reservation.end !== undefined) return reservation.end;
  if (model.nowMs >= reservation.expiresMs) return "expired";
  return reservation.expected === undefined ? "held" : "closing";
}

export function reservedOf(model: Model, user: number): number {
  return model.reservations
    .filter((reservation) => reservation.user === user && ["held", "closing"].includes(stateOf(model, reservation)))
    .reduce((sum, reservation) => sum + reservation.hold, 0);
}

export function applyFact(model: Model, fact: ModelFact): void {
  if (fact.kind === "ended") {
    if (!["held", "closing"].includes(stateOf(model, fact.reservation))) return;
    fact.reservation.expected = fact.expected;
    settle(fact.reservation);
    return;
  }
  const chunk = model.chunks.get(fact.chunk) ?? { stored: false, released: false, charged: 0 };
  model.chunks.set(fact.chunk, chunk);
  const user = model.users[fact.user];
  if (user === undefined) throw new Error("the model knows no such user");
  if (fact.kind === "released") {
    if (chunk.released) return;
    chunk.released = true;
    changeUse(user, -chunk.charged);
    return;
  }
  if (chunk.stored) return;
  chunk.stored = true;
  const { reservation } = fact;
  if (reservation?.user === fact.user && ["held", "closing"].includes(stateOf(model, reservation))) {
    reservation.posted += fact.size;
    settle(reservation);
  }
  if (chunk.released) return;
  chunk.charged = fact.size;
  changeUse(user, fact.size);
}

function settle(reservation: ModelReservation): void {
  const { expected, posted, size } = reservation;
  reservation.hold = Math.max(0, Math.min(reservation.hold, (expected ?? size) - posted));
  if (expected !== undefined && posted >= expected) reservation.end = "closed";
}

export function changeUse(user: ModelUser, delta: number, quota = user.quota): void {
  user.used += delta;
  user.quota = quota;
  for (const percent of [80, 90, 100]) {
    if (user.used <= 0 || user.used * 100 < user.quota * (percent - 5)) user.armed.add(percent);
    if (user.armed.has(percent) && user.used > 0 && user.used * 100 >= user.quota * percent) {
      user.armed.delete(percent);
      user.announced.push(percent);
    }
  }
}
