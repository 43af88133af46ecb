import type { DescMethod } from "@bufbuild/protobuf";
import type { MethodImplSpec } from "@connectrpc/connect";
import type { Server } from "@grpc/grpc-js";
import type { PolicedService } from "#platform/rpc/policy.ts";
import type { AdapterDeps } from "./adapted-method.ts";
import { passBytes, toBuffer } from "./codec.ts";
import { bidiStreaming, clientStreaming, serverStreaming, unary } from "./handlers.ts";
import type { UnaryHandler } from "./unary-call.ts";

/**
 * Adds a service with its policy to a grpc-js server. Messages stay bytes in grpc-js and are decoded by the adapter.
 * Gives the unary handlers by their paths, for who serves them without grpc-js.
 */
export function addToGrpcServer(
  server: Server,
  policed: PolicedService,
  deps: AdapterDeps,
): ReadonlyMap<string, UnaryHandler> {
  const unaries = new Map<string, UnaryHandler>();
  for (const spec of Object.values(policed.spec.methods)) {
    if (spec.kind === "unary") unaries.set(pathOf(spec.method), unary({ spec, policed, deps }));
    if (!register(server, spec, policed, deps)) throw new Error(`${pathOf(spec.method)} is served twice`);
  }
  return unaries;
}

/** Gives whether the path was free. */
function register(server: Server, spec: MethodImplSpec, policed: PolicedService, deps: AdapterDeps): boolean {
  const path = pathOf(spec.method);
  switch (spec.kind) {
    case "unary":
      return server.register(path, unary({ spec, policed, deps }), toBuffer, passBytes, "unary");
    case "server_streaming":
      return server.register(path, serverStreaming({ spec, policed, deps }), toBuffer, passBytes, "serverStream");
    case "client_streaming":
      return server.register(path, clientStreaming({ spec, policed, deps }), toBuffer, passBytes, "clientStream");
    case "bidi_streaming":
      return server.register(path, bidiStreaming({ spec, policed, deps }), toBuffer, passBytes, "bidi");
  }
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}
