import { AsyncLocalStorage } from "node:async_hooks";
import { randomFillSync } from "node:crypto";

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}/;
const NO_TRACE = "0".repeat(32);

/** The call that the running code belongs to, for what it calls and publishes on its way. */
export interface CallScope {
  readonly traceId: string;
  /** What is left of the deadline; undefined where there is none. */
  timeoutMs(): number | undefined;
  readonly signal: AbortSignal;
}

const scopes = new AsyncLocalStorage<CallScope>();

export function runInCall<T>(scope: CallScope, work: () => T): T {
  return scopes.run(scope, work);
}

/**
 * Runs work that must outlive the call it was begun in, such as giving a reservation back: what it calls does not
 * inherit the call's deadline.
 */
export function runDetached<T>(work: () => T): T {
  return scopes.exit(work);
}

export function currentCall(): CallScope | undefined {
  return scopes.getStore();
}

/** The W3C traceparent to hand on with an event or an outgoing call; undefined outside of a call. */
export function currentTraceparent(): string | undefined {
  const scope = scopes.getStore();
  return scope === undefined ? undefined : `00-${scope.traceId}-${randomHex(8)}-01`;
}

/** The W3C traceparent of an event: in the trace of the running call or, where no call caused it, in one of its own. */
export function eventTraceparent(eventId: string): string {
  return traceparentFrom(eventId, scopes.getStore()?.traceId);
}

/** For events of which many calls have a part, such as folded heartbeats: a trace of its own. */
export function ownTraceparent(eventId: string): string {
  return traceparentFrom(eventId);
}

/** The event's UUID serves as span and, where there is none, as trace: that costs no other random bytes. */
function traceparentFrom(eventId: string, traceId?: string): string {
  const hex = eventId.replaceAll("-", "");
  return `00-${traceId ?? hex}-${hex.slice(16)}-01`;
}

/** The trace id of a traceparent header, or a new one. */
export function traceIdOf(traceparent: string | null | undefined): string {
  const traceId = traceparent == null ? undefined : TRACEPARENT.exec(traceparent)?.[1];
  return traceId === undefined || traceId === NO_TRACE ? randomHex(16) : traceId;
}

function randomHex(bytes: number): string {
  return randomFillSync(Buffer.allocUnsafe(bytes)).toString("hex");
}
