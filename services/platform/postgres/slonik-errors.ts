import {
  BackendTerminatedError,
  BackendTerminatedUnexpectedlyError,
  CheckExclusionConstraintViolationError,
  CheckIntegrityConstraintViolationError,
  ForeignKeyIntegrityConstraintViolationError,
  IdleTransactionTimeoutError,
  InputSyntaxError,
  InvalidInputError,
  NotNullIntegrityConstraintViolationError,
  type Query,
  SlonikError,
  StatementCancelledError,
  StatementTimeoutError,
  UniqueIntegrityConstraintViolationError,
} from "slonik";

const byCode = new Map<string, (error: Error) => Error>([
  ["22P02", (error) => new InvalidInputError(error.message)],
  ["25P03", (error) => new IdleTransactionTimeoutError(error)],
  ["57P01", (error) => new BackendTerminatedError(error)],
  ["23502", (error) => new NotNullIntegrityConstraintViolationError(error)],
  ["23503", (error) => new ForeignKeyIntegrityConstraintViolationError(error)],
  ["23505", (error) => new UniqueIntegrityConstraintViolationError(error)],
  ["23P01", (error) => new CheckExclusionConstraintViolationError(error)],
  ["23514", (error) => new CheckIntegrityConstraintViolationError(error)],
]);

/** The errors of `pg` as the classes that slonik's own driver would throw. */
export function toSlonikError(error: unknown, query?: Query): Error {
  if (!(error instanceof Error)) return new Error(`the database driver threw ${typeof error}`);
  if (error instanceof SlonikError) return error;
  if (/connection terminated unexpectedly/i.test(error.message)) return new BackendTerminatedUnexpectedlyError(error);
  if (/connection terminated|client was closed|not queryable/i.test(error.message))
    return new BackendTerminatedError(error);
  const code: unknown = Reflect.get(error, "code");
  if (typeof code !== "string") return error;
  if (code === "57014") {
    const isCancelled = error.message.includes("due to user request");
    return isCancelled ? new StatementCancelledError(error) : new StatementTimeoutError(error);
  }
  if (code === "42601" && query !== undefined) return new InputSyntaxError(error, query);
  return byCode.get(code)?.(error) ?? error;
}
