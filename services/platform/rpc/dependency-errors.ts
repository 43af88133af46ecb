import { Code, ConnectError } from "@connectrpc/connect";
import {
  isDatabaseDown,
  isStatementTimeout,
  isTransactionConflict,
  PoolExhaustedError,
} from "#platform/postgres/errors.ts";
import { dependencyUnavailable, overloaded, type RpcError } from "./errors.ts";

const RETRY_AFTER_MS = 1_000;

/**
 * What a failure of PostgreSQL, NATS or another service means for the client; undefined where the error is none of these.
 * Drivers wrap their errors, so the whole cause chain is looked at.
 */
export function dependencyErrorOf(error: unknown): RpcError | undefined {
  let current: unknown = error;
  for (let depth = 0; current instanceof Error && depth < 8; depth++) {
    const mapped = classify(current, error);
    if (mapped !== undefined) return mapped;
    current = current.cause;
  }
  return undefined;
}

function classify(error: Error, whole: unknown): RpcError | undefined {
  // Another service's refusal that the handler did not pass on is our own mistake, except that it is away or late.
  if (error instanceof ConnectError) {
    if (error.code !== Code.Unavailable && error.code !== Code.DeadlineExceeded) return undefined;
    return dependencyUnavailable("a service behind this one is not available, try again", whole);
  }
  if (error instanceof PoolExhaustedError)
    return overloaded("the database is busy, try again", error.retryAfterMs, whole);
  if (isStatementTimeout(error) || isTransactionConflict(error)) {
    return overloaded("the database is busy, try again", RETRY_AFTER_MS, whole);
  }
  if (error.name === "NatsError") return dependencyUnavailable("the message broker is not available, try again", whole);
  if (isDatabaseDown(error)) return dependencyUnavailable("the database is not available, try again", whole);
  return undefined;
}
