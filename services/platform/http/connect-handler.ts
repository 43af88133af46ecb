import type { DescMethod } from "@bufbuild/protobuf";
import { type ConnectRouter, createConnectRouter, createContextValues, type MethodImplSpec } from "@connectrpc/connect";
import {
  type connectNodeAdapter,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { Logger } from "#platform/log/logger.ts";
import { peerKey } from "#platform/rpc/caller.ts";
import type { InFlight } from "#platform/rpc/in-flight.ts";
import type { PolicedService } from "#platform/rpc/policy.ts";
import { createBodyBudget } from "./body-budget.ts";
import { fastCompressions } from "./compression.ts";
import { refuseMalformedMessages, serveCall, throwPreparedAnswer } from "./connect-refusals.ts";
import { MAX_TIMEOUT_MS, spoilLongTimeout } from "./long-timeouts.ts";
import { peerOf } from "./peer.ts";
import { type RequestBodyOptions, receiveBody } from "./request-body.ts";
import { connectionOf, createStartQueue, isGivenUp, type StartQueue } from "./start-queue.ts";
import { resetUnread } from "./unread-body.ts";

/** A request handler for HTTP/1.1 and HTTP/2; connect-node has the type but does not export it. */
export type NodeHandler = ReturnType<typeof connectNodeAdapter>;
type NodeRequest = Parameters<NodeHandler>[0];
type NodeResponse = Parameters<NodeHandler>[1];

export interface ConnectHandlerOptions {
  readonly services: readonly PolicedService[];
  readonly trustedProxyCount: number;
  readonly readMaxBytes: number;
  /** For the bodies of all requests that are being read, together. */
  readonly maxBodyBytes: number;
  readonly maxBodyBytesPerAddress: number;
  readonly maxBodyBytesPerSecond: number;
  readonly log: Logger;
  /** For paths that are no RPC. */
  readonly fallback: NodeHandler;
  /** For requests to RPCs whose path and Host make no URL. */
  readonly malformed: NodeHandler;
}

const ENVELOPED = /^application\/(?:grpc|connect\+)/i;

/**
 * Connect, gRPC and gRPC-Web for the given services.
 *
 * Differs from `connectNodeAdapter` in what happens to requests that Connect itself refuses: they are logged like any
 * other call, and bytes that are no such message are INVALID_ARGUMENT and not INTERNAL. And a call with one request
 * message begins when that message is complete.
 */
export function createConnectHandler(options: ConnectHandlerOptions): NodeHandler {
  const { log, trustedProxyCount } = options;
  const policedByName = new Map(options.services.map((policed) => [policed.service.typeName, policed]));
  const router = createConnectRouter({
    acceptCompression: [...fastCompressions],
    maxTimeoutMs: MAX_TIMEOUT_MS,
    // A newcomer reads answers with curl: a quota without its zero used bytes would be a riddle.
    jsonOptions: { ignoreUnknownFields: true, alwaysEmitImplicit: true },
    interceptors: [refuseMalformedMessages],
    requestGate: (context) => {
      throwPreparedAnswer(context);
      return policedByName.get(context.service.typeName)?.admit(context);
    },
  });
  for (const policed of options.services) {
    const limits = { readMaxBytes: policed.readMaxBytes ?? options.readMaxBytes };
    for (const spec of Object.values(policed.spec.methods)) addRpc(router, spec, limits);
  }
  const budget = createBodyBudget({
    maxBytes: options.maxBodyBytes,
    maxBytesPerAddress: options.maxBodyBytesPerAddress,
    maxBytesPerSecond: options.maxBodyBytesPerSecond,
  });
  const startLater = createStartQueue();
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  return (request, response) => {
    const handler = handlers.get(request.url?.split("?", 1)[0] ?? "");
    if (handler === undefined) return options.fallback(request, response);
    const policed = policedByName.get(handler.service.typeName);
    if (policed === undefined) return options.fallback(request, response);
    const { inFlight, readMaxBytes = options.readMaxBytes } = policed;
    const start = (body?: AsyncIterable<Uint8Array>) => {
      const universal = universalOf(request, response, trustedProxyCount);
      if (universal === undefined) return options.malformed(request, response);
      forgetLength(universal.header, readMaxBytes);
      spoilLongTimeout(universal.header);
      serveCall(handler, body === undefined ? universal : { ...universal, body }, policed)
        .then((answer) => universalResponseToNodeResponse(answer, response))
        // The client is gone; the call itself has been logged by its policy.
        .catch((error: unknown) =>
          log.debug({ err: error, rpc: handler.requestPath }, "an answer could not be written"),
        );
    };
    resetUnread(request, response);
    // A stream of requests lasts as long as its client likes; its messages are bounded one by one.
    if (request.method === "GET" || isOpenEnded(handler.method)) return start();
    const isEnveloped = ENVELOPED.test(request.headers["content-type"] ?? "");
    const { host: address } = peerOf(request, trustedProxyCount);
    startWhenComplete(request, { budget, address, readMaxBytes, isEnveloped, inFlight, startLater }, start);
  };
}

interface CompleteRequestOptions extends RequestBodyOptions {
  readonly inFlight: InFlight;
  readonly startLater: StartQueue;
}

/**
 * Starts a call in the turn in which its request came, or in a later one where that was not all of it. Until then the
 * request counts as in flight: a stop waits for what has not come yet, as for the call that it becomes.
 */
function startWhenComplete(
  request: NodeRequest,
  options: CompleteRequestOptions,
  start: (body: AsyncIterable<Uint8Array>) => void,
): void {
  const { inFlight, startLater } = options;
  let isOwnTurn = true;
  const startNow = (body: AsyncIterable<Uint8Array> | undefined): boolean => {
    const isWanted = body !== undefined && !isGivenUp(request);
    if (isWanted) start(body);
    // Only now, when the call counts.
    inFlight.end();
    return isWanted;
  };
  inFlight.begin();
  receiveBody(request, options, (body) => {
    if (isOwnTurn || body === undefined) startNow(body);
    else startLater(connectionOf(request), () => startNow(body));
  });
  setImmediate(() => {
    isOwnTurn = false;
  });
}

/** Undefined for a path and Host that make no URL. */
function universalOf(request: NodeRequest, response: NodeResponse, trustedProxyCount: number) {
  const contextValues = createContextValues().set(peerKey, () => peerOf(request, trustedProxyCount));
  try {
    return { ...universalRequestFromNodeRequest(request, response, undefined, contextValues), contextValues };
  } catch {
    return undefined;
  }
}

/**
 * Connect allocates what Content-Length announces before the first byte of it has come: memory for an attacker who sends
 * nothing but headers. Without the header it takes what comes, up to the same limit; a length above the limit stays, to
 * be refused at once.
 */
function forgetLength(header: Headers, readMaxBytes: number): void {
  if (Number(header.get("content-length")) <= readMaxBytes) header.delete("content-length");
}

function isOpenEnded({ methodKind }: DescMethod): boolean {
  return methodKind === "client_streaming" || methodKind === "bidi_streaming";
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
