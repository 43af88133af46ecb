import { Code } from "@connectrpc/connect";
import { ErrorReason } from "#gen/decentrastore/user_quota/v1/error_reason_pb.ts";
import type { Caller } from "#platform/rpc/caller.ts";
import { errorsOf, type RpcError } from "#platform/rpc/errors.ts";

export const quotaError = errorsOf(ErrorReason);

/** A service is told to come back: the account follows its user's registration within moments. */
export function accountNotFound(caller: Caller): RpcError {
  const message = "the user has no account";
  return quotaError(
    Code.NotFound,
    "ACCOUNT_NOT_FOUND",
    message,
    caller.kind === "service" ? { retryAfterMs: 1_000 } : {},
  );
}

export function accountClosed(): RpcError {
  return quotaError(Code.FailedPrecondition, "ACCOUNT_CLOSED", "the account is closed: its user was deleted");
}

export function accountInactive(): RpcError {
  return quotaError(Code.FailedPrecondition, "ACCOUNT_INACTIVE", "the user is deactivated and cannot reserve storage");
}

export interface QuotaNumbers {
  readonly userId: string;
  readonly limitBytes: bigint;
  readonly usedBytes: bigint;
  readonly reservedBytes: bigint;
  readonly askedBytes: bigint;
}

export function quotaExceeded(numbers: QuotaNumbers): RpcError {
  const { userId, limitBytes, usedBytes, reservedBytes, askedBytes } = numbers;
  const description = `asked for ${askedBytes} bytes; of a limit of ${limitBytes} bytes ${usedBytes} are used and ${reservedBytes} reserved`;
  return quotaError(Code.ResourceExhausted, "QUOTA_EXCEEDED", `the storage quota is exceeded: ${description}`, {
    quota: [{ subject: `user:${userId}`, description }],
    metadata: {
      limit_bytes: limitBytes.toString(),
      used_bytes: usedBytes.toString(),
      reserved_bytes: reservedBytes.toString(),
      asked_bytes: askedBytes.toString(),
    },
  });
}

export function reservationNotFound(): RpcError {
  return quotaError(Code.NotFound, "RESERVATION_NOT_FOUND", "there is no such reservation");
}

export function reservationClosed(state: string): RpcError {
  return quotaError(
    Code.FailedPrecondition,
    "RESERVATION_CLOSED",
    `the reservation is not held any more: it is ${state}`,
    {
      metadata: { state: state.toUpperCase() },
    },
  );
}

export function idempotencyKeyReused(sizeBytes: bigint): RpcError {
  const message = "idempotency_key was used before for another size_bytes";
  return quotaError(Code.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", message, {
    metadata: { size_bytes: sizeBytes.toString() },
  });
}
