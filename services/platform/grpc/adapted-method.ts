import type { MethodImplSpec } from "@connectrpc/connect";
import type { Logger } from "#platform/log/logger.ts";
import type { PolicedService } from "#platform/rpc/policy.ts";
import type { GrpcContext, SurfaceCall } from "./grpc-context.ts";

export interface AdapterDeps {
  readonly log: Logger;
  /** Puts what the connection proves (peer address, node) into a fresh context. */
  readonly prepare: (context: GrpcContext, call: SurfaceCall) => void;
}

/** One method on its way into grpc-js. */
export interface AdaptedMethod<Spec extends MethodImplSpec> {
  readonly spec: Spec;
  readonly policed: PolicedService;
  readonly deps: AdapterDeps;
}
