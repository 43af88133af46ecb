import type { MethodImplSpec } from "@connectrpc/connect";
import type { PolicyDeps } from "./policy-deps.ts";
import { guardRequests } from "./request-guard.ts";
import { ResponseGuard } from "./response-guard.ts";
import { openStream } from "./stream-scope.ts";
import { toRpcError } from "./to-rpc-error.ts";
import { runInCall } from "./trace.ts";

type ImplOf<K extends MethodImplSpec["kind"]> = Extract<MethodImplSpec, { kind: K }>["impl"];

export function policeServerStreaming(
  handler: ImplOf<"server_streaming">,
  deps: PolicyDeps,
): ImplOf<"server_streaming"> {
  return (request, context) => {
    const scope = openStream(context, deps);
    return new ResponseGuard(() => {
      const refusal = scope.call.policy.rule.admitsRequest(scope.call.caller, request);
      if (refusal !== undefined) throw refusal;
      return handler(request, scope.context);
    }, scope);
  };
}

export function policeClientStreaming(
  handler: ImplOf<"client_streaming">,
  deps: PolicyDeps,
): ImplOf<"client_streaming"> {
  return async (requests, context) => {
    const scope = openStream(context, deps);
    try {
      const guarded = guardRequests(requests, scope);
      const response = await runInCall(scope.call, () => handler(guarded, scope.context));
      deps.calls.finished(scope.call);
      return response;
    } catch (error) {
      const mapped = toRpcError(error, scope.context);
      deps.calls.finished(scope.call, mapped);
      throw deps.toTransportError(mapped);
    } finally {
      deps.openStreams.delete(scope.context);
    }
  };
}

export function policeBidiStreaming(handler: ImplOf<"bidi_streaming">, deps: PolicyDeps): ImplOf<"bidi_streaming"> {
  return (requests, context) => {
    const scope = openStream(context, deps);
    return new ResponseGuard(() => handler(guardRequests(requests, scope), scope.context), scope);
  };
}
