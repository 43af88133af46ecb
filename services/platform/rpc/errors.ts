import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.ts";
import { fromDuration } from "./time.ts";

/** A request field that breaks a rule: a snake_case path such as "chunks[3].size_bytes", and the rule in English. */
export interface FieldViolation {
  readonly field: string;
  readonly rule: string;
}

/** A limit that was passed: whose ("user:<user_id>") and by how much, in English. */
export interface QuotaViolation {
  readonly subject: string;
  readonly description: string;
}

export interface RpcErrorInit {
  readonly code: Code;
  /** A value of the service's ErrorReason; left out where none exists: the client cancelled, the stack refused. */
  readonly reason?: string;
  /** Goes to the client as it is: never SQL, hosts, stacks or secrets. */
  readonly message: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly violations?: readonly FieldViolation[];
  readonly retryAfterMs?: number;
  readonly quota?: readonly QuotaViolation[];
  readonly cause?: unknown;
}

/**
 * The only error that reaches a client with its own words. Whatever else a handler throws is mapped by
 * `toRpcError` and tells the client nothing but a code. `cause` goes to the log, never to the client.
 */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: Code;
  readonly reason: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];
  readonly retryAfterMs: number | undefined;
  readonly quotaViolations: readonly QuotaViolation[];

  constructor(init: RpcErrorInit) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = init.code;
    this.reason = init.reason;
    this.metadata = init.metadata ?? {};
    this.violations = init.violations ?? [];
    this.retryAfterMs = init.retryAfterMs;
    this.quotaViolations = init.quota ?? [];
  }
}

export interface ErrorExtra {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly retryAfterMs?: number;
  readonly quota?: readonly QuotaViolation[];
  readonly cause?: unknown;
}

/**
 * The error maker of one service, bound to its generated ErrorReason: `export const authError = errorsOf(ErrorReason)`.
 * A reason that the contract does not document does not compile.
 */
export function errorsOf<R extends object>(
  _reasons: R,
): (code: Code, reason: keyof R & string, message: string, extra?: ErrorExtra) => RpcError {
  return (code, reason, message, extra = {}) => new RpcError({ code, reason, message, ...extra });
}

/** INVALID_ARGUMENT / INVALID_FIELD with google.rpc.BadRequest; the message names every field and its rule. */
export function invalidArgument(violations: readonly FieldViolation[]): RpcError {
  return new RpcError({
    code: Code.InvalidArgument,
    reason: "INVALID_FIELD",
    message: violations.map((violation) => `${violation.field} ${violation.rule}`).join("; "),
    violations,
  });
}

/** INVALID_ARGUMENT / INVALID_FIELD for bytes that are no such message at all. */
export function malformedRequest(typeName: string): RpcError {
  return new RpcError({
    code: Code.InvalidArgument,
    reason: "INVALID_FIELD",
    message: `the request is not a valid ${typeName}`,
  });
}

type UnauthenticatedReason = "TOKEN_MISSING" | "TOKEN_INVALID" | "NODE_CERTIFICATE_INVALID";

/** UNAUTHENTICATED: no token or a bad one, or on the node edge a certificate that proves no node. */
export function unauthenticated(reason: UnauthenticatedReason, message: string, cause?: unknown): RpcError {
  return new RpcError({ code: Code.Unauthenticated, reason, message, cause });
}

/** PERMISSION_DENIED / ACCESS_DENIED. */
export function accessDenied(message: string): RpcError {
  return new RpcError({ code: Code.PermissionDenied, reason: "ACCESS_DENIED", message });
}

/** RESOURCE_EXHAUSTED / OVERLOADED with RetryInfo: a bounded resource is full, nothing was done. */
export function overloaded(message: string, retryAfterMs: number, cause?: unknown): RpcError {
  return new RpcError({ code: Code.ResourceExhausted, reason: "OVERLOADED", message, retryAfterMs, cause });
}

/** UNAVAILABLE / DEPENDENCY_UNAVAILABLE with RetryInfo: the database, the broker or another service is down. */
export function dependencyUnavailable(message: string, cause?: unknown): RpcError {
  return new RpcError({
    code: Code.Unavailable,
    reason: "DEPENDENCY_UNAVAILABLE",
    message,
    retryAfterMs: 1_000,
    cause,
  });
}

/** What an unexpected error looks like from outside. */
export function internalError(cause: unknown): RpcError {
  return new RpcError({ code: Code.Internal, reason: "INTERNAL", message: "internal error", cause });
}

/**
 * The error of another service as our own: code, message, reason and details unchanged, so that a client cannot tell
 * which service refused. Anything else than an answered error (connection refused, ...) comes back as it is.
 */
export function passOn(error: unknown): unknown {
  if (error instanceof RpcError || !(error instanceof ConnectError) || !error.isWireError) return error;
  const info = error.findDetails(ErrorInfoSchema)[0];
  const retry = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const violations = error.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  const quota = error.findDetails(QuotaFailureSchema).flatMap((detail) => detail.violations);
  return new RpcError({
    code: error.code,
    message: error.rawMessage,
    ...(info === undefined ? {} : { reason: info.reason, metadata: info.metadata }),
    ...(retry === undefined ? {} : { retryAfterMs: fromDuration(retry) }),
    violations: violations.map(({ field, description }) => ({ field, rule: description })),
    quota: quota.map(({ subject, description }) => ({ subject, description })),
    cause: error,
  });
}
