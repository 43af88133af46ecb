import { Code, type HandlerContext } from "@connectrpc/connect";
import { type Call, callIn } from "./call.ts";
import { CallContext } from "./call-context.ts";
import { revokedKey } from "./caller.ts";
import { RpcError, unauthenticated } from "./errors.ts";
import type { PolicyDeps } from "./policy-deps.ts";

/** One stream being served. */
export interface StreamScope {
  readonly call: Call;
  readonly context: CallContext;
  readonly deps: PolicyDeps;
  /** Set when the client has sent all that it wanted to: a handler that returns then has finished, also during a stop. */
  isInputDone: () => boolean;
}

export function openStream(context: HandlerContext, deps: PolicyDeps): StreamScope {
  const call = callIn(context);
  const scoped = new CallContext(context, undefined);
  deps.calls.started(call);
  deps.openStreams.add(scoped);
  if (deps.stopping.aborted) scoped.abort(stoppingError());
  const isRevoked = context.values.get(revokedKey);
  if (isRevoked !== undefined) endWhenRevoked(scoped, isRevoked, deps);
  return { call, context: scoped, deps, isInputDone: () => false };
}

/** Between two looks, so that a revocation ends streams as soon as it refuses calls. */
const LOOK_MS = 500;

/** A stream may outlive its token, but not the right to it: who was deactivated must not read on for hours. */
function endWhenRevoked(context: CallContext, isRevoked: () => boolean, deps: PolicyDeps): void {
  const timer = setInterval(() => {
    if (!deps.openStreams.has(context)) clearInterval(timer);
    else if (isRevoked()) context.abort(unauthenticated("TOKEN_INVALID", "the access token has been revoked"));
  }, LOOK_MS);
  timer.unref();
}

/** How every open stream ends when the server stops. */
export function stoppingError(): RpcError {
  return new RpcError({
    code: Code.Unavailable,
    reason: "SHUTTING_DOWN",
    message: "the server is stopping, connect again",
    retryAfterMs: 1_000,
  });
}
