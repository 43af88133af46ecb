import {
  Code,
  ConnectError,
  type ConnectRouter,
  createContextValues,
  type HandlerContext,
  type MethodImplSpec,
} from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { peerKey } from "#platform/rpc/caller.ts";
import type { PolicedService } from "#platform/rpc/policy.ts";
import { peerOf } from "./peer.ts";

/** A request handler for HTTP/1.1 and HTTP/2; connect-node has the type but does not export it. */
export type NodeHandler = ReturnType<typeof connectNodeAdapter>;

export interface ConnectHandlerOptions {
  readonly services: readonly PolicedService[];
  readonly trustedProxyCount: number;
  readonly readMaxBytes: number;
  /** For paths that are no RPC. */
  readonly fallback: NodeHandler;
}

// setTimeout fires at once above this, so a longer deadline would be none at all; Connect answers INVALID_ARGUMENT.
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Connect, gRPC and gRPC-Web for the given services. */
export function createConnectHandler(options: ConnectHandlerOptions): NodeHandler {
  const byName = new Map(options.services.map((policed) => [policed.service.typeName, policed]));
  return connectNodeAdapter({
    routes: (router) => {
      for (const policed of options.services) {
        const limits = { readMaxBytes: policed.readMaxBytes ?? options.readMaxBytes };
        for (const spec of Object.values(policed.spec.methods)) addRpc(router, spec, limits);
      }
    },
    contextValues: (request) => createContextValues().set(peerKey, () => peerOf(request, options.trustedProxyCount)),
    requestGate: (context) => {
      const policed = byName.get(context.service.typeName);
      if (policed === undefined) throw new Error(`${context.service.typeName} is not served`);
      return admit(policed, context);
    },
    maxTimeoutMs: MAX_TIMEOUT_MS,
    fallback: options.fallback,
  });
}

async function admit(policed: PolicedService, context: HandlerContext): Promise<void> {
  await policed.admit(context);
  // Connect aborts the signal at the end of every call. Only then can it be seen whether the transport itself refused
  // the request (malformed, too large) or could not send the response, which no handler learns of.
  const ended = () => setImmediate(() => policed.ended(context, outcomeOf(context)));
  if (context.signal.aborted) ended();
  else context.signal.addEventListener("abort", ended, { once: true });
}

/** The error that Connect answers with: the reason of the signal or, for gRPC, what stands in the trailers by then. */
function outcomeOf(context: HandlerContext): unknown {
  const reason: unknown = context.signal.reason;
  const status = Number(context.responseTrailer.get("grpc-status") ?? 0);
  if (reason instanceof ConnectError || status === 0 || !(status in Code)) return reason;
  return new ConnectError(decodeURIComponent(context.responseTrailer.get("grpc-message") ?? ""), status);
}

function addRpc(router: ConnectRouter, spec: MethodImplSpec, limits: { readMaxBytes: number }): void {
  switch (spec.kind) {
    case "unary":
      router.rpc(spec.method, spec.impl, limits);
      break;
    case "server_streaming":
      router.rpc(spec.method, spec.impl, limits);
      break;
    case "client_streaming":
      router.rpc(spec.method, spec.impl, limits);
      break;
    case "bidi_streaming":
      router.rpc(spec.method, spec.impl, limits);
      break;
  }
}
