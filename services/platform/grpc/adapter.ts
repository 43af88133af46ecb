import type { DescMethod } from "@bufbuild/protobuf";
import type { MethodImplSpec } from "@connectrpc/connect";
import type { Server } from "@grpc/grpc-js";
import type { Logger } from "#platform/log/logger.ts";
import type { PolicedService } from "#platform/rpc/policy.ts";
import { passBytes, toBuffer } from "./codec.ts";
import type { GrpcContext, SurfaceCall } from "./grpc-context.ts";
import { bidiStreaming, clientStreaming, serverStreaming, unary } from "./handlers.ts";

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

/** Adds a service with its policy to a grpc-js server. Messages stay bytes in grpc-js and are decoded by the adapter. */
export function addToGrpcServer(server: Server, policed: PolicedService, deps: AdapterDeps): void {
  for (const spec of Object.values(policed.spec.methods)) register(server, spec, policed, deps);
}

function register(server: Server, spec: MethodImplSpec, policed: PolicedService, deps: AdapterDeps): void {
  const path = pathOf(spec.method);
  switch (spec.kind) {
    case "unary":
      server.register(path, unary({ spec, policed, deps }), toBuffer, passBytes, "unary");
      break;
    case "server_streaming":
      server.register(path, serverStreaming({ spec, policed, deps }), toBuffer, passBytes, "serverStream");
      break;
    case "client_streaming":
      server.register(path, clientStreaming({ spec, policed, deps }), toBuffer, passBytes, "clientStream");
      break;
    case "bidi_streaming":
      server.register(path, bidiStreaming({ spec, policed, deps }), toBuffer, passBytes, "bidi");
      break;
  }
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}
