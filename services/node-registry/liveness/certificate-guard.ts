import type { HandlerContext } from "@connectrpc/connect";
import { nodeCallerOf } from "#platform/rpc/caller.ts";
import { unauthenticated } from "#platform/rpc/errors.ts";
import type { Clock } from "#platform/time/clock.ts";

/**
 * Throws once the certificate that opened a stream has expired. TLS and the edge look at it when a connection and a call
 * begin, and a stream may outlive it: asked for every message, it must not cost a look at the wall clock.
 */
export function createCertificateGuard(clock: Clock, context: HandlerContext): () => void {
  const { certificate } = nodeCallerOf(context);
  if (certificate === undefined) return () => {};
  const endsAtMs = clock.monotonicMs() + certificate.expiresAtMs - clock.now().epochMilliseconds;
  return () => {
    if (clock.monotonicMs() >= endsAtMs) {
      throw unauthenticated("NODE_CERTIFICATE_INVALID", "the node's certificate has expired");
    }
  };
}
