import {
  Code,
  ConnectError,
  type ConnectRouter,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
  type MethodImplSpec,
} from "@connectrpc/connect";
import {
  compressionBrotli,
  compressionGzip,
  connectNodeAdapter,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { UniversalHandler, UniversalServerRequest, UniversalServerResponse } from "@connectrpc/connect/protocol";
import type { Logger } from "#platform/log/logger.ts";
import { type Call, callOf } from "#platform/rpc/call.ts";
import { peerKey } from "#platform/rpc/caller.ts";
import { toConnectError } from "#platform/rpc/details.ts";
import type { PolicedService } from "#platform/rpc/policy.ts";
import { malformedRequest } from "#platform/rpc/errors.ts";
import { peerOf } from "./peer.ts";

/** A request handler for HTTP/1.1 and HTTP/2; connect-node has the type but does not export it. */
export type NodeHandler = ReturnType<typeof connectNodeAdapter>;

export interface ConnectHandlerOptions {
  readonly services: readonly PolicedService[];
  readonly trustedProxyCount: number;
  readonly readMaxBytes: number;
  readonly log: Logger;
  /** For paths that are no RPC. */
  readonly fallback: NodeHandler;
}

// setTimeout fires at once above this, so a longer deadline would be none at all; Connect answers INVALID_ARGUMENT.
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Set on a request that is only made to have Connect write an error in its protocol. */
const answerKey = createContextKey<ConnectError | undefined>(undefined, { description: "answer" });

/**
 * Connect, gRPC and gRPC-Web for the given services. May throw for a request whose path and Host make no URL.
 *
 * Differs from `connectNodeAdapter` in what happens to requests that Connect itself refuses: they are logged like any
 * other call, and bytes that are no such message are INVALID_ARGUMENT and not INTERNAL.
 */
export function createConnectHandler(options: ConnectHandlerOptions): NodeHandler {
  const { log, trustedProxyCount } = options;
  const policedByName = new Map(options.services.map((policed) => [policed.service.typeName, policed]));
  const router = createConnectRouter({
    acceptCompression: [compressionGzip, compressionBrotli],
    maxTimeoutMs: MAX_TIMEOUT_MS,
    // A newcomer reads answers with curl: a quota without its zero used bytes would be a riddle.
    jsonOptions: { ignoreUnknownFields: true, alwaysEmitImplicit: true },
    requestGate: (context) => {
      const answer = context.values.get(answerKey);
      if (answer !== undefined) throw answer;
      return policedByName.get(context.service.typeName)?.admit(context);
    },
  });
  for (const policed of options.services) {
    const limits = { readMaxBytes: policed.readMaxBytes ?? options.readMaxBytes };
    for (const spec of Object.values(policed.spec.methods)) addRpc(router, spec, limits);
  }
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  return (request, response) => {
    const handler = handlers.get(request.url?.split("?", 1)[0] ?? "");
    if (handler === undefined) return options.fallback(request, response);
    const contextValues = createContextValues().set(peerKey, () => peerOf(request, trustedProxyCount));
    const universal = universalRequestFromNodeRequest(request, response, undefined, contextValues);
    serve(handler, universal, policedByName)
      .then((answer) => universalResponseToNodeResponse(answer, response))
      // The client is gone; the call itself has been logged by its policy.
      .catch((error: unknown) => log.debug({ err: error, rpc: handler.requestPath }, "an answer could not be written"));
  };
}

async function serve(
  handler: UniversalHandler,
  request: UniversalServerRequest & { contextValues: ContextValues },
  services: ReadonlyMap<string, PolicedService>,
): Promise<UniversalServerResponse> {
  const response = await handler(request);
  const call = callOf(request.contextValues);
  const policed = services.get(handler.service.typeName);
  if (call === undefined || policed === undefined || (call.isStarted && !call.isSuccess)) return response;
  const error = errorOf(call);
  // Admitted, and yet the handler was never reached: Connect has refused the request's bytes.
  const isMalformed = !call.isStarted && error?.code === Code.Internal;
  const mended = isMalformed ? malformedRequest(handler.method.input) : error;
  policed.ended(call, mended);
  if (!isMalformed) return response;
  const contextValues = createContextValues().set(answerKey, toConnectError(malformedRequest(handler.method.input)));
  return handler({ ...request, body: noBody(), contextValues });
}
