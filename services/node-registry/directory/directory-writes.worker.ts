import { createGate, type Gate } from "#platform/postgres/gate.ts";

const AT_ONCE = 4;
const MAX_WAITING = 20_000;
const WAIT_MS = 15_000;

/**
 * Every change of the directory ends in the one row lock of its head, so that more of them at once only hold connections
 * while they wait. A crowd of enrolling, renewing or updated nodes queues here instead, and heartbeats keep the pool.
 */
export function createDirectoryWrites(): Gate {
  return createGate({ size: AT_ONCE, maxWaiting: MAX_WAITING, waitMs: WAIT_MS });
}
