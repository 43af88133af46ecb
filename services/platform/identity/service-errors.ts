import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { dependencyUnavailable, internalError } from "#platform/rpc/errors.ts";
import { deadlineExceeded } from "#platform/rpc/to-rpc-error.ts";

// What connect-node makes of connections that are refused, reset or closed under a call.
const TRANSPORT_TROUBLE: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.Aborted,
  Code.Internal,
  Code.Unknown,
  // A connection that breaks under a call looks as if somebody had cancelled it.
  Code.Canceled,
]);

/** The other service did not take the call, or it is unknown whether it did. */
export function isWorthRepeating(error: unknown): boolean {
  if (!(error instanceof ConnectError)) return false;
  return error.isWireError ? error.code === Code.Unavailable : TRANSPORT_TROUBLE.has(error.code);
}

/** The other service did not accept our own token, which says nothing about our caller's. */
export function wasTokenRefused(error: unknown): boolean {
  return error instanceof ConnectError && error.isWireError && error.code === Code.Unauthenticated;
}

/**
 * A failed call to another service as its caller should see it. Refusals stay as they were answered; trouble between the
 * services, or with our own credentials, must not look like the client's mistake.
 */
export function serviceErrorOf(
  error: unknown,
  call: { signal: AbortSignal | undefined; isInherited: boolean },
): unknown {
  if (!(error instanceof ConnectError)) return error;
  if (call.signal?.aborted ?? false) return error;
  if (error.code === Code.DeadlineExceeded && call.isInherited) return deadlineExceeded();
  if (error.code === Code.DeadlineExceeded || isWorthRepeating(error)) {
    return dependencyUnavailable("a service behind this one is not available, try again", error);
  }
  if (wasTokenRefused(error)) return dependencyUnavailable("a service behind this one refuses this service", error);
  if (error.isWireError && error.code === Code.PermissionDenied && reasonOf(error) === "ACCESS_DENIED") {
    return internalError(error);
  }
  return error;
}

function reasonOf(error: ConnectError): string | undefined {
  return error.findDetails(ErrorInfoSchema)[0]?.reason;
}
