import type { IncomingMessage } from "node:http";
import { constants, type Http2ServerRequest } from "node:http2";

/**
 * Resets an HTTP/2 request that is answered before its body has come, as RFC 9113 8.1 allows: whoever was refused for
 * its size would otherwise send all of it, at the cost of reading it and throwing it away.
 */
export function resetUnread(request: IncomingMessage | Http2ServerRequest): void {
  if (!("stream" in request)) return;
  const { stream } = request;
  // The trailers have been handed over by the listener before this one. In the same turn the reset would overtake them.
  stream.once("wantTrailers", () => {
    if (!stream.readableEnded) setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
  });
}
