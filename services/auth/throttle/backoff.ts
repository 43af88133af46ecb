import { isFarAhead } from "../wrong-clock.ts";

/** Rule 5.6: ten failures are free, then the wait doubles from one second to 15 minutes, and an hour of quiet halves them. */
export const FREE_FAILURES = 10;
const FIRST_WAIT_MS = 1_000;
const MAX_WAIT_MS = 15 * 60_000;
const QUIET_MS = 3_600_000;

/** What is known of the failed logins under one key. */
export interface ThrottleState {
  readonly failures: number;
  readonly lastFailureAt: Temporal.Instant | null;
  /** Attempts whose outcome is not known yet. */
  readonly inFlight: number;
  /** After it the attempts in flight count as failed: their process died. */
  readonly inFlightUntil: Temporal.Instant | null;
}

export type Admission =
  | { readonly kind: "admitted" }
  /** Too many failures: come back later. */
  | { readonly kind: "blocked"; readonly retryAfterMs: number }
  /** Admitted or blocked, depending on attempts that are in flight: ask again in a moment. */
  | { readonly kind: "undecided" };

/** Failures that still count: those recorded and those of attempts that never reported, halved per quiet hour. */
export function countedFailures(state: ThrottleState, now: Temporal.Instant): number {
  const last = lastFailureAt(state, now);
  const failures = state.failures + (isLost(state, now) ? state.inFlight : 0);
  if (last === null) return failures;
  const quietHours = Math.floor(Math.max(0, msBetween(last, now)) / QUIET_MS);
  return quietHours > 30 ? 0 : Math.floor(failures / 2 ** quietHours);
}

/** How long to wait after the last of `failures`. */
export function waitAfterMs(failures: number): number {
  if (failures < FREE_FAILURES) return 0;
  return Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(failures - FREE_FAILURES, 20));
}

/**
 * Whether another attempt may begin. Attempts in flight take the places that are left, so that a thousand parallel
 * guesses get ten hashes; but as they may turn out honest, those behind them are asked to wait and not refused.
 */
export function admissionOf(state: ThrottleState, now: Temporal.Instant): Admission {
  const failures = countedFailures(state, now);
  const last = lastFailureAt(state, now);
  const waitMs = waitAfterMs(failures);
  if (last !== null && waitMs > 0) {
    const retryAfterMs = waitMs - msBetween(last, now);
    if (retryAfterMs > 0 && !isFarAhead(last, now))
      return { kind: "blocked", retryAfterMs: Math.min(retryAfterMs, waitMs) };
  }
  const inFlight = isLost(state, now) ? 0 : state.inFlight;
  return inFlight === 0 || failures + inFlight < FREE_FAILURES ? { kind: "admitted" } : { kind: "undecided" };
}

/** Whether attempts were begun by a process that died before it knew how they ended. */
function isLost(state: ThrottleState, now: Temporal.Instant): boolean {
  const until = state.inFlightUntil;
  return state.inFlight > 0 && until !== null && (isBefore(until, now) || isFarAhead(until, now));
}

function lastFailureAt(state: ThrottleState, now: Temporal.Instant): Temporal.Instant | null {
  return isLost(state, now) ? later(state.lastFailureAt, state.inFlightUntil) : state.lastFailureAt;
}

function isBefore(a: Temporal.Instant, b: Temporal.Instant): boolean {
  return Temporal.Instant.compare(a, b) < 0;
}

function later(a: Temporal.Instant | null, b: Temporal.Instant | null): Temporal.Instant | null {
  if (a === null || b === null) return a ?? b;
  return isBefore(a, b) ? b : a;
}

function msBetween(from: Temporal.Instant, to: Temporal.Instant): number {
  return Number(to.epochNanoseconds - from.epochNanoseconds) / 1e6;
}
