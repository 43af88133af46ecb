import {
  BackendTerminatedError,
  BackendTerminatedUnexpectedlyError,
  CheckIntegrityConstraintViolationError,
  ConnectionError,
  ForeignKeyIntegrityConstraintViolationError,
  IntegrityConstraintViolationError,
  SlonikError,
  StatementTimeoutError,
  UniqueIntegrityConstraintViolationError,
} from "slonik";

/** No connection became free in time: the caller should answer OVERLOADED and tell the client to come back later. */
export class PoolExhaustedError extends Error {
  override readonly name = "PoolExhaustedError";
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** The database cannot be used as configured, or did not come in the time of a start; the message names cause and cure. */
export class DatabaseSetupError extends Error {
  override readonly name = "DatabaseSetupError";
}

const TRANSACTION_LOST = "40000";

/**
 * The connection went away during a transaction, which therefore did not happen. The code is one that slonik answers by
 * calling the transaction's callback again.
 */
export class TransactionLostError extends SlonikError {
  override readonly name = "TransactionLostError";
  readonly code = TRANSACTION_LOST;

  constructor(cause?: unknown) {
    super("the database connection was lost during a transaction", cause instanceof Error ? { cause } : {});
  }
}

interface RowIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** A row does not fit the schema of its query: a bug or a wrong migration. It names columns and types, never values. */
export class RowShapeError extends Error {
  override readonly name = "RowShapeError";

  constructor(issues: readonly RowIssue[], query: string) {
    const parts = issues.map(
      ({ path, message }) =>
        `${path?.map((part) => String(typeof part === "object" ? part.key : part)).join(".") ?? "row"}: ${message}`,
    );
    super(`a row does not fit its schema (${parts.join("; ")}) in: ${query.replace(/\s+/g, " ").slice(0, 300)}`);
  }
}

/** The SQLSTATE or system error code of an error or of what caused it. */
export function errorCodeOf(error: unknown): string | undefined {
  for (let current = error, depth = 0; current instanceof Error && depth < 8; current = current.cause, depth += 1) {
    const code: unknown = Reflect.get(current, "code");
    if (typeof code === "string") return code;
  }
  return undefined;
}

function constraintOf(error: unknown, kind: abstract new (...args: never[]) => IntegrityConstraintViolationError) {
  return error instanceof kind ? (error.constraint ?? "") : undefined;
}

/** The name of the unique constraint (`table__rule`) that a statement violated. */
export function uniqueViolationOf(error: unknown): string | undefined {
  return constraintOf(error, UniqueIntegrityConstraintViolationError);
}

/** The name of the check constraint that a statement violated. */
export function checkViolationOf(error: unknown): string | undefined {
  return constraintOf(error, CheckIntegrityConstraintViolationError);
}

/** The name of the foreign key that a statement violated. */
export function foreignKeyViolationOf(error: unknown): string | undefined {
  return constraintOf(error, ForeignKeyIntegrityConstraintViolationError);
}

export function isIntegrityViolation(error: unknown): boolean {
  return error instanceof IntegrityConstraintViolationError;
}

/** The statement took longer than the pool's statement timeout, or waited too long for a lock. */
export function isStatementTimeout(error: unknown): boolean {
  return error instanceof StatementTimeoutError || errorCodeOf(error) === "55P03";
}

/** Serialization failures and deadlocks, after the retries of the pool. */
export function isTransactionConflict(error: unknown): boolean {
  const code = errorCodeOf(error) ?? "";
  return code.startsWith("40") && code !== TRANSACTION_LOST;
}

const lossCodes = new Set(["08000", "08003", "08006", "57P01", "57P02", "ECONNRESET", "EPIPE", "ETIMEDOUT"]);

/** The connection itself is gone, as opposed to a statement that failed on it. */
export function isConnectionLoss(error: unknown): boolean {
  if (lossCodes.has(errorCodeOf(error) ?? "")) return true;
  return error instanceof Error && /connection terminated|not queryable|client was closed/i.test(error.message);
}

const downCodes = new Set([
  // connection exceptions, server stopping, crashed, starting; too many connections; disk full, read-only standby
  ...["08000", "08001", "08003", "08004", "08006", "57P01", "57P02", "57P03", "53300", "53100", "25006"],
  ...[
    "ECONNREFUSED",
    "ECONNRESET",
    "EPIPE",
    "ETIMEDOUT",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ENOENT",
  ],
]);

/**
 * The database cannot be reached or does not take the work at the moment; the same call may succeed later. Answer
 * UNAVAILABLE. After a lost connection it is unknown whether the last statement took effect.
 */
export function isDatabaseDown(error: unknown): boolean {
  if (
    error instanceof TransactionLostError ||
    error instanceof ConnectionError ||
    error instanceof BackendTerminatedError ||
    error instanceof BackendTerminatedUnexpectedlyError
  ) {
    return true;
  }
  if (isConnectionLoss(error) || downCodes.has(errorCodeOf(error) ?? "")) return true;
  return error instanceof Error && /timeout expired|timeout exceeded when/.test(error.message);
}

/** Nothing is wrong with the work itself: the database is down, or had no connection free. Not worth splitting a batch. */
export function isDatabaseUnavailable(error: unknown): boolean {
  return isDatabaseDown(error) || error instanceof PoolExhaustedError;
}
