import type { HttpRoute } from "#platform/http/routes.ts";
import type { Metrics } from "./metrics.ts";
import type { Readiness } from "./readiness.ts";

/** /livez: the process runs. /readyz: it can serve; 503 with the failing checks otherwise. */
export function probeRoutes(readiness: Readiness): HttpRoute[] {
  return [
    { path: "/livez", answer: () => ({ status: 200, contentType: "text/plain; charset=utf-8", body: "ok\n" }) },
    {
      path: "/readyz",
      answer: async () => {
        const { isReady, checks } = await readiness.state();
        const body = `${JSON.stringify({ status: isReady ? "ready" : "not ready", checks })}\n`;
        return { status: isReady ? 200 : 503, contentType: "application/json", body };
      },
    },
  ];
}

/** /metrics in the Prometheus text format: for the ops port only. */
export function metricsRoute(metrics: Metrics): HttpRoute {
  return {
    path: "/metrics",
    answer: async () => ({
      status: 200,
      contentType: metrics.registry.contentType,
      body: await metrics.registry.metrics(),
    }),
  };
}
