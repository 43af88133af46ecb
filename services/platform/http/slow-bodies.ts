import type { Http2Server } from "node:http2";
import { constants } from "node:http2";
import type { PolicedService } from "#platform/rpc/policy.ts";

/**
 * Resets HTTP/2 requests whose body does not end in time, as `requestTimeout` does for HTTP/1.1: Node has no such limit
 * for HTTP/2, and a unary call that never ends its body would hold memory for as long as its client likes.
 */
export function cutSlowBodies(server: Http2Server, services: readonly PolicedService[], timeoutMs: number): void {
  const openEnded = openEndedPaths(services);
  server.on("stream", (stream, headers) => {
    // What ended with its head, such as every GET, is read by nobody: no `end` would come of it.
    if (stream.endAfterHeaders || openEnded.has(headers[":path"] ?? "")) return;
    const timer = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), timeoutMs);
    const stop = () => clearTimeout(timer);
    stream.once("end", stop);
    stream.once("close", stop);
  });
}

/** Of the methods whose request is a stream, which lasts for as long as its client likes. */
export function openEndedPaths(services: readonly PolicedService[]): ReadonlySet<string> {
  return new Set(
    services.flatMap(({ service }) =>
      service.methods
        .filter((method) => method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming")
        .map((method) => `/${service.typeName}/${method.name}`),
    ),
  );
}
