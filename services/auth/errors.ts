import { Code } from "@connectrpc/connect";
import { ErrorReason } from "#gen/decentrastore/auth/v1/error_reason_pb.ts";
import { errorsOf, type RpcError } from "#platform/rpc/errors.ts";

export const authError = errorsOf(ErrorReason);

/** One message for every failed login, whatever the cause. */
export function invalidCredentials(): RpcError {
  return authError(Code.Unauthenticated, "INVALID_CREDENTIALS", "the name or the password is wrong");
}

export function refreshTokenInvalid(): RpcError {
  return authError(Code.Unauthenticated, "REFRESH_TOKEN_INVALID", "the refresh token is not valid: sign in again");
}

export function tooManyAttempts(retryAfterMs: number): RpcError {
  return authError(Code.ResourceExhausted, "TOO_MANY_ATTEMPTS", "too many attempts: wait before the next one", {
    retryAfterMs: Math.ceil(retryAfterMs),
  });
}

export function hashingBusy(retryAfterMs: number): RpcError {
  return authError(Code.ResourceExhausted, "HASHING_BUSY", "too many passwords are being checked: try again soon", {
    retryAfterMs: Math.ceil(retryAfterMs),
  });
}

export function userNotFound(): RpcError {
  return authError(Code.NotFound, "USER_NOT_FOUND", "no user has this user_id");
}

export function sessionNotFound(): RpcError {
  return authError(Code.NotFound, "SESSION_NOT_FOUND", "you have no session with this session_id");
}

export function lastAdmin(): RpcError {
  return authError(Code.FailedPrecondition, "LAST_ADMIN", "the change would leave no active admin");
}

/** The token was good, but its session or user is gone by now. */
export function tokenInvalid(): RpcError {
  return authError(Code.Unauthenticated, "TOKEN_INVALID", "the access token is no longer valid");
}

export function serviceClientNotFound(): RpcError {
  return authError(Code.NotFound, "SERVICE_CLIENT_NOT_FOUND", "no service client has this client_id");
}
