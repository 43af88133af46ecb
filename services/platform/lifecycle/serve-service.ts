import {
  certificateIdentity,
  type EdgeCertificates,
  type EdgeLimits,
  type NodeEdge,
  startNodeEdge,
} from "#platform/grpc/node-edge.ts";
import { reflectionServices } from "#platform/grpc/reflection.ts";
import { toGrpcStatus } from "#platform/grpc/status.ts";
import { type HttpLimits, startHttpServer } from "#platform/http/http-server.ts";
import type { HttpRoute } from "#platform/http/routes.ts";
import { bearerIdentity } from "#platform/identity/bearer.ts";
import type { TokenVerifier } from "#platform/identity/token-verifier.ts";
import type { Logger } from "#platform/log/logger.ts";
import { healthService } from "#platform/ops/health.ts";
import type { Metrics } from "#platform/ops/metrics.ts";
import { metricsRoute, probeRoutes } from "#platform/ops/ops-routes.ts";
import { createReadiness, type ReadinessChecks } from "#platform/ops/readiness.ts";
import { toConnectError } from "#platform/rpc/details.ts";
import { createInFlight } from "#platform/rpc/in-flight.ts";
import { createPolicy, type PolicyOptions } from "#platform/rpc/policy.ts";
import type { RpcService } from "#platform/rpc/service.ts";
import { type Clock, systemClock } from "#platform/time/clock.ts";
import { listening } from "./listening.ts";

export interface ServeOptions {
  readonly name: string;
  readonly config: {
    readonly HOST: string;
    readonly PORT: number;
    readonly OPS_PORT: number;
    readonly TRUSTED_PROXY_COUNT?: number;
  };
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Served on the main port, besides health. */
  readonly services: readonly RpcService[];
  readonly verifier: TokenVerifier;
  readonly readiness: ReadinessChecks;
  /** Plain GET pages on the main port, such as the key set. */
  readonly routes?: readonly HttpRoute[];
  readonly nodeEdge?: NodeEdgeConfig;
  readonly clock?: Clock;
  readonly httpLimits?: Partial<HttpLimits>;
  /** For calls in flight when the service stops. */
  readonly stopGraceMs?: number;
}

/** The port for storage nodes: gRPC over mutual TLS, with health and reflection. */
export interface NodeEdgeConfig {
  readonly port: number;
  readonly services: readonly RpcService[];
  readonly certificates: EdgeCertificates;
  /** Throws an RpcError where a node with a good certificate may not call (disqualified, deregistered). Must be fast. */
  readonly admit?: (nodeId: string) => void | Promise<void>;
  readonly limits?: Partial<EdgeLimits>;
}

export interface ServiceAddresses {
  readonly port: number;
  readonly opsPort: number;
  readonly nodeEdgePort?: number;
}

export interface RunningService extends AsyncDisposable {
  readonly addresses: ServiceAddresses;
  /** New server certificate or client CAs for the node edge; open connections stay. */
  setNodeEdgeCertificates(certificates: EdgeCertificates): void;
}

// Of the 25 s that a stop may take; the rest is for flushing batches and closing pools.
const STOP_GRACE_MS = 15_000;

/**
 * Serves the main port (HTTP/1.1 and h2c), the ops port and, where wanted, the node edge.
 *
 * Disposing is the first half of a clean stop: readiness off, streams ended with UNAVAILABLE, new connections refused,
 * calls in flight finished. Put it on the stack **after** what the handlers use (pool, broker, batch writers), so that
 * those are flushed and closed behind it.
 */
export async function serveService(options: ServeOptions): Promise<RunningService> {
  const { config, log, clock = systemClock, stopGraceMs = STOP_GRACE_MS } = options;
  const readiness = createReadiness(options.readiness, clock);
  const stopping = new AbortController();
  const inFlight = createInFlight();
  const shared = { log, metrics: options.metrics, clock, inFlight, stopping: stopping.signal };
  const atOnce = { graceMs: 0, calls: inFlight };
  const health = healthService([...options.services, ...(options.nodeEdge?.services ?? [])], readiness, clock);

  await using started = new AsyncDisposableStack();
  const policy = createPolicy({
    ...shared,
    identify: bearerIdentity(options.verifier),
    toTransportError: toConnectError,
  });
  const { HOST: host, PORT: port, OPS_PORT: opsPort } = config;
  const mainServer = startHttpServer({
    host,
    port,
    services: [...options.services, health].map(policy),
    log,
    routes: [...probeRoutes(readiness), ...(options.routes ?? [])],
    trustedProxyCount: config.TRUSTED_PROXY_COUNT ?? 0,
    ...(options.httpLimits === undefined ? {} : { limits: options.httpLimits }),
  });
  const main = await listening("PORT", host, port, mainServer);
  started.defer(() => main.close(atOnce));
  const edge = options.nodeEdge && (await startEdge(options.nodeEdge, health, host, shared));
  started.defer(async () => edge?.close(atOnce));
  const opsRoutes = [...probeRoutes(readiness), metricsRoute(options.metrics)];
  const opsServer = startHttpServer({ host, port: opsPort, services: [], log, routes: opsRoutes });
  const ops = await listening("OPS_PORT", host, opsPort, opsServer);
  // From here on everything runs: nothing is left to undo when this function returns.
  started.move();

  const addresses = {
    port: main.port,
    opsPort: ops.port,
    ...(edge === undefined ? {} : { nodeEdgePort: edge.port }),
  };
  log.info(addresses, `${options.name} is listening`);
  return {
    addresses,
    setNodeEdgeCertificates: (certificates) => edge?.setCertificates(certificates),
    [Symbol.asyncDispose]: async () => {
      readiness.stop();
      stopping.abort();
      const gently = { graceMs: stopGraceMs, calls: inFlight };
      await Promise.all([main.close(gently), edge?.close(gently)]);
      // Last, so that probes and the final scrape are answered during the stop.
      await ops.close(atOnce);
    },
  };
}

type Shared = Pick<PolicyOptions, "log" | "metrics" | "clock" | "inFlight" | "stopping">;

function startEdge(config: NodeEdgeConfig, health: RpcService, host: string, shared: Shared): Promise<NodeEdge> {
  const policy = createPolicy({
    ...shared,
    identify: certificateIdentity(config.admit),
    toTransportError: toGrpcStatus,
  });
  const services = [...config.services, health];
  const edge = startNodeEdge({
    host,
    port: config.port,
    certificates: config.certificates,
    services: [...services, ...reflectionServices(services)].map(policy),
    log: shared.log,
    metrics: shared.metrics,
    ...(config.limits === undefined ? {} : { limits: config.limits }),
  });
  return listening("NODE_EDGE_PORT", host, config.port, edge);
}
