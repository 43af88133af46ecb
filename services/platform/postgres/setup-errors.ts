import { DatabaseSetupError, errorCodeOf } from "./errors.ts";

/** Why the first connection failed, with the cure, where the reason is known or `otherwise` says one. */
export function setupErrorOf(cause: unknown, app: string, otherwise?: string): unknown {
  if (cause instanceof DatabaseSetupError) return cause;
  const message = reasonOf(cause, setupReasons)?.replaceAll("<role>", app) ?? otherwise;
  return message === undefined ? cause : new DatabaseSetupError(message, { cause });
}

/** What an operator can do about a failure of the database, where that is known: for logs and commands. */
export function adviceOf(error: unknown, app = "the service's role"): string | undefined {
  return (reasonOf(error, runtimeReasons) ?? reasonOf(error, setupReasons))?.replaceAll("<role>", app);
}

function reasonOf(error: unknown, reasons: readonly Reason[]): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const messages: string[] = [];
  for (let current: unknown = error; current instanceof Error; current = current.cause) messages.push(current.message);
  const text = messages.join("\n");
  const foundCode = errorCodeOf(error) ?? "";
  return reasons.find(({ code, pattern }) => code?.test(foundCode) || pattern?.test(text))?.message;
}

interface Reason {
  readonly code?: RegExp;
  readonly pattern?: RegExp;
  readonly message: string;
}

/** Every known reason, by the code or the text of the error that it comes with; `<role>` is the application role. */
export const setupReasons: readonly Reason[] = [
  {
    pattern: /role "[^"]*_app" does not exist|invalid value for parameter "role"/,
    message: `the role <role> does not exist in this database: run npm run db:migrate with an owner's DATABASE_URL`,
  },
  {
    pattern: /permission denied to set (role|parameter "role")/,
    message: `the login may not take the role <role>: grant <role> to it, or give the service a URL with the login <role>`,
  },
  {
    pattern: /unsupported startup parameter/,
    message:
      "a connection pooler refuses our startup parameters: add options, statement_timeout and " +
      "idle_in_transaction_session_timeout to its ignore_startup_parameters and give the service a database URL " +
      `with the login <role>, or connect directly`,
  },
  {
    pattern: /server does not support SSL/,
    message:
      "the server offers no TLS: enable it there, or add sslmode=disable to the database URL on a trusted network",
  },
  {
    code: /^(CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT|ERR_SSL_)/,
    message:
      "the server's certificate is not trusted: give its authority by sslrootcert, check the host name " +
      "(verify-full compares it), or use sslmode=require to encrypt without checking",
  },
  {
    code: /^28P01$/,
    message: "the database refuses the password of this login: check the user and password of the URL",
  },
  { code: /^28000$/, message: "the database refuses this login from here: check the user, pg_hba.conf and sslmode" },
  {
    code: /^3D000$/,
    message: "the database named in the URL does not exist: create it with createdb, or correct the name",
  },
  {
    code: /^53300$/,
    message:
      "the server has no connection left: lower DATABASE_POOL_SIZE and DATABASE_POOL_MAX_OVERFLOW of the services, or " +
      "raise its max_connections",
  },
  { code: /^42501$/, message: `the login lacks rights: it must be able to connect and to act as <role>` },
  {
    code: /^ENOTFOUND$/,
    message: "the host name of the database URL cannot be resolved: check its spelling and the DNS",
  },
  {
    code: /^ECONNREFUSED$/,
    message: "nothing listens at the host and port of the database URL: is PostgreSQL running?",
  },
];

/** What the services meet while they run; what they meet at their start is above. */
export const runtimeReasons: readonly Reason[] = [
  {
    code: /^53100$/,
    message: "the server's disk is full: free space there or enlarge it, the services go on by themselves",
  },
  {
    code: /^55P03$/,
    message:
      "a lock was not granted in time: npm run db:check shows the age of the oldest transaction, pg_stat_activity who " +
      "holds it; end it and repeat",
  },
  {
    code: /^57014$/,
    message: "a statement took too long and was cancelled: npm run db:stats and npm run db:explain show the slow ones",
  },
  {
    code: /^(42P01|3F000)$/,
    message: "a table or schema is missing: run npm run db:migrate with an owner's DATABASE_URL",
  },
  { code: /^25006$/, message: "this server is a read-only standby: point the database URL at the primary" },
  {
    code: /^57P0[123]$/,
    message:
      "the server is starting, stopping or was restarted: wait until it is back, the services go on by themselves",
  },
];
