import type { HttpLimits } from "#platform/http/http-server.ts";
import type { HttpRoute } from "#platform/http/routes.ts";
import { type NodeEdgeConfig, type RunningService, serveService } from "#platform/lifecycle/serve-service.ts";
import { createLogger } from "#platform/log/logger.ts";
import { createMetrics, type Metrics } from "#platform/ops/metrics.ts";
import type { ReadinessChecks } from "#platform/ops/readiness.ts";
import type { RpcService } from "#platform/rpc/service.ts";
import { createTestCa, type TestCa } from "./test-ca.ts";
import { createTestIssuer, type TestIssuer } from "./test-issuer.ts";

export interface TestService extends AsyncDisposable {
  readonly url: string;
  readonly opsUrl: string;
  /** `127.0.0.1:port`, where there is a node edge. */
  readonly edgeAddress: string;
  readonly issuer: TestIssuer;
  readonly ca: TestCa;
  readonly metrics: Metrics;
  /** The parsed log lines so far. */
  readonly lines: readonly Record<string, unknown>[];
  /** The last line that the log has for a call. */
  lastCall(): Record<string, unknown> | undefined;
  readonly running: RunningService;
}

export interface TestServiceOptions {
  readonly services?: readonly RpcService[];
  readonly edgeServices?: readonly RpcService[];
  readonly edge?: Pick<NodeEdgeConfig, "admit" | "limits">;
  readonly readiness?: ReadinessChecks;
  readonly routes?: readonly HttpRoute[];
  readonly trustedProxyCount?: number;
  readonly stopGraceMs?: number;
  readonly httpLimits?: Partial<HttpLimits>;
}

/** Serves handlers as a service process does, on free ports, with an issuer and a CA of its own. */
export async function startTestService(options: TestServiceOptions): Promise<TestService> {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger("test", "debug", { write: (line) => lines.push(JSON.parse(line)) });
  const [issuer, ca] = await Promise.all([createTestIssuer(), createTestCa()]);
  const metrics = createMetrics("test");
  const running = await serveService({
    name: "test",
    config: { HOST: "127.0.0.1", PORT: 0, OPS_PORT: 0, TRUSTED_PROXY_COUNT: options.trustedProxyCount ?? 0 },
    log,
    metrics,
    services: options.services ?? [],
    verifier: issuer.verifier,
    readiness: options.readiness ?? {},
    ...(options.routes === undefined ? {} : { routes: options.routes }),
    ...(options.edgeServices === undefined ? {} : { nodeEdge: await edgeOf(options, options.edgeServices, ca) }),
    ...(options.httpLimits === undefined ? {} : { httpLimits: options.httpLimits }),
    ...(options.stopGraceMs === undefined ? {} : { stopGraceMs: options.stopGraceMs }),
  });
  return {
    url: `http://127.0.0.1:${running.addresses.port}`,
    opsUrl: `http://127.0.0.1:${running.addresses.opsPort}`,
    edgeAddress: `127.0.0.1:${running.addresses.nodeEdgePort}`,
    issuer,
    ca,
    metrics,
    lines,
    lastCall: () => lines.findLast((line) => line.msg === "rpc"),
    running,
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

async function edgeOf(
  options: TestServiceOptions,
  services: readonly RpcService[],
  ca: TestCa,
): Promise<NodeEdgeConfig> {
  const { certificate, privateKey } = await ca.server();
  return { port: 0, services, certificates: { certificate, privateKey, clientCas: [ca.certificate] }, ...options.edge };
}
