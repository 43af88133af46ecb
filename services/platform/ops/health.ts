import { Code } from "@connectrpc/connect";
import {
  Health,
  type HealthCheckRequest,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "#gen/grpc/health/v1/health_pb.ts";
import { RpcError } from "#platform/rpc/errors.ts";
import { implement, type RpcService } from "#platform/rpc/service.ts";
import type { Clock } from "#platform/time/clock.ts";
import type { Readiness } from "./readiness.ts";

const WATCH_EVERY_MS = 1_000;

/** grpc.health.v1 for the process as a whole and, with the same answer, for each service that it serves. */
export function healthService(served: readonly RpcService[], readiness: Readiness, clock: Clock): RpcService {
  const names = new Set(["", Health.typeName, ...served.map(({ service }) => service.typeName)]);
  const statusOf = async (request: HealthCheckRequest) => {
    if (!names.has(request.service)) return ServingStatus.SERVICE_UNKNOWN;
    return (await readiness.state()).isReady ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  };
  return implement(
    Health,
    {
      check: async (request) => {
        const status = await statusOf(request);
        if (status === ServingStatus.SERVICE_UNKNOWN) {
          throw new RpcError({ code: Code.NotFound, message: "this server does not serve that service" });
        }
        return { status };
      },
      list: async () => {
        const status = await statusOf({ $typeName: "grpc.health.v1.HealthCheckRequest", service: "" });
        return { statuses: Object.fromEntries([...names].map((name) => [name, { status }])) };
      },
      watch: async function* (request, context) {
        let last: ServingStatus | undefined;
        while (!context.signal.aborted) {
          const status = await statusOf(request);
          if (status !== last) yield { status };
          last = status;
          await clock.sleep(WATCH_EVERY_MS, context.signal);
        }
      },
    },
    { highRate: ["check"] },
  );
}
