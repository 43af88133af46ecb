interface LoggedError {
  type: string;
  message: string;
  stack?: string;
  cause?: LoggedError | string;
  [field: string]: unknown;
}

/** Fields of errors that help and hold no values: not `detail` or `values`, which quote what users sent. */
const keptFields = ["code", "reason", "constraint", "schema", "table", "column", "routine", "severity", "syscall"];

/** An error with its cause chain, each message once, without the row and parameter values that drivers attach. */
export function serializeError(error: unknown, depth = 0): LoggedError | string {
  if (!(error instanceof Error)) return typeof error === "string" ? error : `thrown ${typeof error}`;
  const logged: LoggedError = { type: error.name, message: error.message };
  if (error.stack !== undefined) logged.stack = error.stack;
  for (const field of keptFields) {
    const value: unknown = Reflect.get(error, field);
    if (typeof value === "string" || typeof value === "number") logged[field] = value;
  }
  if (error instanceof AggregateError)
    logged.errors = error.errors.slice(0, 5).map((e) => serializeError(e, depth + 1));
  if (error.cause !== undefined && depth < 8) logged.cause = serializeError(error.cause, depth + 1);
  return logged;
}
