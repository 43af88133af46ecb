import { Code, ConnectError } from "@connectrpc/connect";
import { dependencyUnavailable, overloaded, type RpcError } from "./errors.ts";

const NETWORK_CODES = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
]);
const SLONIK_DOWN = new Set(["ConnectionError", "BackendTerminatedError", "BackendTerminatedUnexpectedlyError"]);
const SLONIK_BUSY = new Set(["StatementTimeoutError", "StatementCancelledError", "IdleTransactionTimeoutError"]);
// 57P01 to 57P03: shutdown, crash, starting up; 25006: a standby, in the middle of a failover.
const POSTGRES_DOWN = /^(08...|57P0[1-5]|25006)$/;
// Out of resources or connections, statement cancelled, lock not available, deadlock or serialization after all retries.
const POSTGRES_BUSY = /^(53...|57014|55P03|40001|40P01)$/;
const RETRY_AFTER_MS = 1_000;

/**
 * What a failure of PostgreSQL, NATS, the network or another service means for the client; undefined where the error is
 * none of these. It is recognised by what the drivers throw (names and codes along the cause chain), because they share
 * no type.
 */
export function dependencyErrorOf(error: unknown): RpcError | undefined {
  let current: unknown = error;
  for (let depth = 0; current instanceof Error && depth < 8; depth++) {
    const mapped = classify(current, error);
    if (mapped !== undefined) return mapped;
    current = current instanceof AggregateError ? (current.errors[0] ?? current.cause) : current.cause;
  }
  return undefined;
}

function classify(error: Error, whole: unknown): RpcError | undefined {
  if (error instanceof ConnectError) return classifyConnect(error, whole);
  const code: unknown = Reflect.get(error, "code");
  const text = typeof code === "string" ? code : "";
  const type = error.constructor.name;
  if (type === "PoolExhaustedError") return overloaded("the database is busy, try again", RETRY_AFTER_MS, whole);
  if (SLONIK_BUSY.has(type) || POSTGRES_BUSY.test(text)) {
    return overloaded("the database is busy, try again", RETRY_AFTER_MS, whole);
  }
  if (SLONIK_DOWN.has(type) || POSTGRES_DOWN.test(text)) {
    return dependencyUnavailable("the database is not available, try again", whole);
  }
  if (type === "NatsError") return dependencyUnavailable("the message broker is not available, try again", whole);
  if (NETWORK_CODES.has(text)) return dependencyUnavailable("a service behind this one is not available", whole);
  return undefined;
}

/** Another service's refusal that the handler did not pass on is our own mistake (INTERNAL), except that it is away or late. */
function classifyConnect(error: ConnectError, whole: unknown): RpcError | undefined {
  if (error.code !== Code.Unavailable && error.code !== Code.DeadlineExceeded) return undefined;
  return dependencyUnavailable("a service behind this one is not available", whole);
}
