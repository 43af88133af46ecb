import { once } from "node:events";
import { createServer as createHttp1Server, type Server } from "node:http";
import { createServer as createHttp2Server, type ServerHttp2Session } from "node:http2";
import type { Logger } from "#platform/log/logger.ts";
import type { PolicedService } from "#platform/rpc/policy.ts";
import { type CloseOptions, closeWithin } from "./closing.ts";
import { createConnectHandler } from "./connect-handler.ts";
import { type SharedPort, shareOnePort } from "./one-port.ts";
import { limitPipelining } from "./pipelining.ts";
import { createDispatcher, type HttpRoute, malformed, notFound } from "./routes.ts";
import { guardSessions } from "./session-guard.ts";
import { cutSlowBodies } from "./slow-bodies.ts";
import { startInTurns } from "./start-queue.ts";
import { cutTinyPieces } from "./tiny-pieces.ts";

export interface HttpServerOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly services: readonly PolicedService[];
  readonly log: Logger;
  readonly routes?: readonly HttpRoute[];
  readonly trustedProxyCount?: number;
  /** Largest request message, default 4 MiB: a PlaceChunks of 1,000 chunks takes a tenth of it. */
  readonly readMaxBytes?: number;
  readonly limits?: Partial<HttpLimits>;
}

export interface HttpLimits {
  /** To send the request line and headers; also how long a connection may say nothing at first. */
  readonly headersTimeoutMs: number;
  /** To send the whole request, except on streams of requests. */
  readonly requestTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly maxConnections: number;
  readonly maxConcurrentStreams: number;
  /** Of all request bodies that are being read, together. */
  readonly maxBodyBytes: number;
  /** Of those from one address: gateways share one, and a large request is a few hundred kilobytes. */
  readonly maxBodyBytesPerAddress: number;
  /** From one address, of large requests: twenty PlaceChunks of 1,000 chunks a second, more than one process serves. */
  readonly maxBodyBytesPerSecond: number;
  /** HTTP/2: pinged when idle for this long, destroyed when the answer stays away, sent off when unused for long. */
  readonly idleMs: number;
  readonly pingTimeoutMs: number;
  readonly unusedMs: number;
}

const DEFAULT_LIMITS: HttpLimits = {
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 60_000,
  // Longer than the minute after which common load balancers drop idle connections: they should be the ones to close.
  keepAliveTimeoutMs: 65_000,
  maxConnections: 20_000,
  maxConcurrentStreams: 100,
  maxBodyBytes: 128 * 1024 * 1024,
  maxBodyBytesPerAddress: 32 * 1024 * 1024,
  maxBodyBytesPerSecond: 8 * 1024 * 1024,
  idleMs: 30_000,
  pingTimeoutMs: 20_000,
  unusedMs: 600_000,
};
const READ_MAX_BYTES = 4 * 1024 * 1024;

export interface HttpServer {
  readonly host: string;
  readonly port: number;
  /** Refuses new connections and lets calls in flight finish. */
  close(options: CloseOptions): Promise<void>;
}

/** Serves RPCs (Connect, gRPC, gRPC-Web) and plain routes over HTTP/1.1 and h2c on one port. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const rpc = createConnectHandler({
    services: options.services,
    log: options.log,
    trustedProxyCount: options.trustedProxyCount ?? 0,
    readMaxBytes: options.readMaxBytes ?? READ_MAX_BYTES,
    maxBodyBytes: limits.maxBodyBytes,
    maxBodyBytesPerAddress: limits.maxBodyBytesPerAddress,
    maxBodyBytesPerSecond: limits.maxBodyBytesPerSecond,
    fallback: notFound,
    malformed,
  });
  const handler = startInTurns(createDispatcher(options.routes ?? [], options.services, rpc));
  const http1 = createHttp1Server(
    {
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.keepAliveTimeoutMs,
      connectionsCheckingInterval: Math.min(5_000, limits.headersTimeoutMs),
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
      noDelay: true,
    },
    limitPipelining(cutTinyPieces(handler, options.services)),
  );
  http1.maxConnections = limits.maxConnections;
  const http2 = createHttp2Server(
    {
      settings: { maxConcurrentStreams: limits.maxConcurrentStreams },
      // Against rapid reset (CVE-2023-44487): more resets than this and the session is told to go away. A client may give
      // up all its streams at once, and the next ones too.
      streamResetBurst: 2 * limits.maxConcurrentStreams,
      streamResetRate: 100,
    },
    handler,
  );
  cutSlowBodies(http2, options.services, limits.requestTimeoutMs);
  const sessions = guardSessions(http2, limits);
  const sockets = shareOnePort(http1, http2, limits.headersTimeoutMs);
  http1.listen(options.port, options.host);
  await once(http1, "listening");
  const address = http1.address();
  if (address === null || typeof address === "string") throw new Error("the server has no TCP address");
  return {
    host: options.host,
    port: address.port,
    close: (closing) => closeAll({ http1, sessions, sockets }, closing),
  };
}

interface Running {
  readonly http1: Server;
  readonly sessions: ReadonlySet<ServerHttp2Session>;
  readonly sockets: SharedPort;
}

async function closeAll({ http1, sessions, sockets }: Running, options: CloseOptions): Promise<void> {
  const closed = new Promise<void>((resolve) => http1.close(() => resolve()));
  for (const socket of sockets.silent) socket.destroy();
  // GOAWAY: streams in flight finish, then the connection closes.
  for (const session of sessions) session.close();
  // Keep-alive connections become idle one by one as their last answer is sent.
  const sweep = setInterval(() => http1.closeIdleConnections(), 50);
  const cut = () => {
    // Destroying the sessions would leave the sockets of peers that do not close their side.
    for (const socket of sockets.open) socket.destroy();
  };
  await closeWithin(closed, cut, options);
  clearInterval(sweep);
}
