import { type ConnectRouter, createContextValues, type HandlerContext, type MethodImplSpec } from "@connectrpc/connect";
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
  // Connect aborts the signal with the error when it cannot read or parse the body: the only trace of such a call.
  const refused = () => policed.refused(context, context.signal.reason);
  if (context.signal.aborted) refused();
  else context.signal.addEventListener("abort", refused, { once: true });
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
