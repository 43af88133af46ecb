import { once } from "node:events";
import { createServer, type TLSSocket, type Server as TlsServer } from "node:tls";
import { createContextKey, type HandlerContext } from "@connectrpc/connect";
import { type ConnectionInjector, Server, ServerCredentials } from "@grpc/grpc-js";
import { type CloseOptions, closeWithin } from "#platform/http/closing.ts";
import type { Logger } from "#platform/log/logger.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import { type Caller, peerKey } from "#platform/rpc/caller.ts";
import { unauthenticated } from "#platform/rpc/errors.ts";
import type { PolicedService } from "#platform/rpc/policy.ts";
import { addToGrpcServer } from "./adapter.ts";
import { closeOnceAnswered } from "./answered-streams.ts";
import { createNodeConnections, type NodeConnection, type NodeConnections } from "./connections.ts";
import { createRequestBudget } from "./request-budget.ts";
import { routeStreams, type StreamRoute } from "./stream-router.ts";
import { serveUnary, type UnaryHandler } from "./unary-call.ts";

/** PEM. Clients are verified against any of the CAs, so that a CA can be replaced while both are listed. */
export interface EdgeCertificates {
  readonly certificate: string;
  readonly privateKey: string;
  readonly clientCas: readonly string[];
}

export interface EdgeLimits {
  readonly maxMessageBytes: number;
  readonly maxConcurrentStreams: number;
  /** Memory of one HTTP/2 session, in megabytes. */
  readonly maxSessionMemoryMb: number;
  readonly maxConnections: number;
  readonly maxConnectionsPerNode: number;
  /** Of requests that one node has begun and not ended. */
  readonly maxUnfinishedBytesPerNode: number;
  /** From one node, of large requests: a report of 10,000 chunks is half a megabyte. */
  readonly maxBytesPerSecond: number;
  readonly handshakeTimeoutMs: number;
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
}

export interface NodeEdgeOptions {
  readonly host: string;
  readonly port: number;
  readonly certificates: EdgeCertificates;
  readonly services: readonly PolicedService[];
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly limits?: Partial<EdgeLimits>;
}

export interface NodeEdge {
  readonly port: number;
  /** For connections from now on; those that are open stay. */
  setCertificates(certificates: EdgeCertificates): void;
  /** Refuses new connections and lets calls in flight finish. */
  close(options: CloseOptions): Promise<void>;
}

const DEFAULT_LIMITS: EdgeLimits = {
  maxMessageBytes: 1024 * 1024,
  maxConcurrentStreams: 100,
  maxSessionMemoryMb: 10,
  maxConnections: 20_000,
  maxConnectionsPerNode: 16,
  maxUnfinishedBytesPerNode: 32 * 1024 * 1024,
  maxBytesPerSecond: 8 * 1024 * 1024,
  handshakeTimeoutMs: 10_000,
  keepaliveMs: 60_000,
  keepaliveTimeoutMs: 20_000,
};

const connectionKey = createContextKey<NodeConnection | undefined>(undefined, { description: "node connection" });

/** The identity of a node's call: its connection's certificate, and nothing that a request says. */
export function certificateIdentity(
  admit?: (nodeId: string) => void | Promise<void>,
): (context: HandlerContext) => Caller | Promise<Caller> {
  return (context) => {
    const connection = context.values.get(connectionKey);
    if (connection === undefined) throw unauthenticated("NODE_CERTIFICATE_INVALID", "the connection proves no node");
    if (connection.validToMs <= Date.now())
      throw unauthenticated("NODE_CERTIFICATE_INVALID", "the node's certificate has expired");
    const admitted = admit?.(connection.caller.nodeId);
    return admitted instanceof Promise ? admitted.then(() => connection.caller) : connection.caller;
  };
}

/** gRPC over mutual TLS for storage nodes. Connections without a certificate of one of the CAs are refused by TLS. */
export async function startNodeEdge(options: NodeEdgeOptions): Promise<NodeEdge> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const connections = createNodeConnections(limits.maxConnectionsPerNode);
  options.metrics.gauge({ name: "node_edge_connections", help: "Open connections of storage nodes." }, (gauge) =>
    gauge.set(connections.size),
  );
  const { grpc, unaries } = createGrpcServer(options, limits, connections);
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const edge = createServer({
    ...tlsContext(options.certificates),
    requestCert: true,
    rejectUnauthorized: true,
    ALPNProtocols: ["h2"],
    minVersion: "TLSv1.2",
    handshakeTimeout: limits.handshakeTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    noDelay: true,
  });
  edge.maxConnections = limits.maxConnections;
  const sockets = acceptConnections(edge, injector, connections, options);
  edge.listen(options.port, options.host);
  await once(edge, "listening");
  const address = edge.address();
  if (address === null || typeof address === "string") throw new Error("the node edge has no TCP address");
  const isOurs: StreamRoute["isOurs"] = ({ session }) => session?.socket.localPort === address.port;
  const router = routeStreams({ isOurs, take: takeCalls(options.services, unaries, limits, connections) });
  edge.once("close", () => router[Symbol.dispose]());
  return {
    port: address.port,
    setCertificates: (certificates) => edge.setSecureContext(tlsContext(certificates)),
    close: (closing) => closeEdge({ edge, grpc, injector, sockets }, closing),
  };
}

function createGrpcServer(options: NodeEdgeOptions, limits: EdgeLimits, connections: NodeConnections) {
  const grpc = new Server({
    "grpc.max_receive_message_length": limits.maxMessageBytes,
    "grpc.max_concurrent_streams": limits.maxConcurrentStreams,
    "grpc.keepalive_time_ms": limits.keepaliveMs,
    "grpc.keepalive_timeout_ms": limits.keepaliveTimeoutMs,
    "grpc-node.max_session_memory": limits.maxSessionMemoryMb,
    "grpc.enable_channelz": 0,
  });
  limitResets(grpc, limits.maxConcurrentStreams);
  const unaries = new Map<string, UnaryHandler>();
  for (const policed of options.services) {
    const added = addToGrpcServer(grpc, policed, {
      log: options.log,
      prepare: (context, call) => {
        // None only where the connection was closed meanwhile: nobody waits for the answer.
        const connection = connections.find(call.getPeer());
        if (connection !== undefined) context.values.set(connectionKey, connection).set(peerKey, connection.peer);
      },
    });
    for (const [path, handler] of added) unaries.set(path, handler);
  }
  return { grpc, unaries };
}

/**
 * Against rapid reset: a node may give up all its streams at once, and the next ones too; more, and its session ends in
 * the middle of the packet. Node allows 1,000, which are 50 ms of everybody's time. grpc-js passes no such option on, but
 * keeps those of its HTTP/2 servers in this object.
 */
function limitResets(grpc: Server, maxConcurrentStreams: number): void {
  const options: unknown = Reflect.get(grpc, "commonServerOptions");
  if (typeof options !== "object" || options === null) throw new Error("grpc-js keeps its options elsewhere");
  Object.assign(options, { streamResetBurst: 2 * maxConcurrentStreams, streamResetRate: maxConcurrentStreams });
}

/** Unary calls are served here; streams, and calls that want something rare, by grpc-js. */
function takeCalls(
  services: readonly PolicedService[],
  unaries: ReadonlyMap<string, UnaryHandler>,
  { maxMessageBytes, maxUnfinishedBytesPerNode, maxBytesPerSecond }: EdgeLimits,
  connections: NodeConnections,
): StreamRoute["take"] {
  const budget = createRequestBudget({
    maxBytesPerNode: maxUnfinishedBytesPerNode,
    maxBytesPerSecond,
    nodeOf: (peer) => connections.find(peer)?.caller.nodeId,
  });
  const single = singleMessagePaths(services);
  return (stream, headers) => {
    const path = headers[":path"] ?? "";
    const handler = unaries.get(path);
    if (handler !== undefined && serveUnary(stream, headers, handler, { maxMessageBytes, budget })) return true;
    // The messages of a stream are read as they come.
    if (single.has(path)) budget.watch(stream);
    closeOnceAnswered(stream);
    return false;
  };
}

function singleMessagePaths(services: readonly PolicedService[]): ReadonlySet<string> {
  const methods = services.flatMap(({ service }) => service.methods);
  const single = methods.filter(({ methodKind }) => methodKind === "unary" || methodKind === "server_streaming");
  return new Set(single.map(({ parent, name }) => `/${parent.typeName}/${name}`));
}

function acceptConnections(
  edge: TlsServer,
  injector: ConnectionInjector,
  connections: NodeConnections,
  { log, metrics }: NodeEdgeOptions,
): ReadonlySet<TLSSocket> {
  const sockets = new Set<TLSSocket>();
  const refused = metrics.counter({
    name: "node_edge_refused_total",
    help: "Connections that TLS refused: no certificate, a foreign or an expired one, or no TLS at all.",
  });
  edge.on("tlsClientError", (error) => {
    refused.inc();
    log.debug({ err: error }, "a connection to the node edge was refused");
  });
  edge.on("secureConnection", (socket) => {
    socket.on("error", (error) => log.debug({ err: error }, "a connection to the node edge broke"));
    if (socket.alpnProtocol !== "h2" || connections.admit(socket) === undefined) {
      refused.inc();
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    injector.injectConnection(socket);
  });
  return sockets;
}

function tlsContext({ certificate, privateKey, clientCas }: EdgeCertificates) {
  return { cert: certificate, key: privateKey, ca: [...clientCas] };
}

interface Running {
  readonly edge: TlsServer;
  readonly grpc: Server;
  readonly injector: ConnectionInjector;
  readonly sockets: ReadonlySet<TLSSocket>;
}

async function closeEdge({ edge, grpc, injector, sockets }: Running, options: CloseOptions): Promise<void> {
  const closed = new Promise<void>((resolve) => edge.close(() => resolve()));
  // GOAWAY to every session.
  injector.drain(options.graceMs);
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  await closeWithin(closed, cut, options);
  grpc.forceShutdown();
}
