import { constants } from "node:http2";
import type { connectNodeAdapter } from "@connectrpc/connect-node";

type NodeHandler = ReturnType<typeof connectNodeAdapter>;

// For the client to read the answer, which a reset connection would take from it.
const LINGER_MS = 1_000;

/**
 * Ends a request that is answered before its body has come, as RFC 9113 8.1 allows: whoever was refused for its size
 * would otherwise send all of it, at the cost of reading it and throwing it away. On HTTP/1.1 that ends the connection.
 */
export function resetUnread(...[request, response]: Parameters<NodeHandler>): void {
  if ("stream" in request) {
    const { stream } = request;
    // The trailers have been handed over by the listener before this one. In the same turn the reset would overtake them.
    stream.once("wantTrailers", () => {
      if (!stream.readableEnded) setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
    });
    return;
  }
  response.once("finish", () => {
    if (request.complete) return;
    const timer = setTimeout(() => request.socket.destroy(), LINGER_MS);
    request.once("end", () => clearTimeout(timer));
    request.once("close", () => clearTimeout(timer));
  });
}
