import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { PolicedService } from "#platform/rpc/policy.ts";
import { MANY_CHUNKS, TINY_CHUNK_BYTES } from "./body-budget.ts";
import { openEndedPaths } from "./slow-bodies.ts";

/**
 * Cuts HTTP/1.1 connections whose body comes in chunks of a few bytes by the thousand. One packet holds ten thousand of
 * them, and Node hands each to the request before anybody else gets a turn: what reads the body, and would refuse it,
 * comes too late. Streams of requests are left alone, whose small messages are chunks of their own.
 */
export function cutTinyPieces<R extends typeof IncomingMessage, S extends typeof ServerResponse>(
  handler: RequestListener<R, S>,
  services: readonly PolicedService[],
): RequestListener<R, S> {
  const openEnded = openEndedPaths(services);
  return (request, response) => {
    if (!openEnded.has(request.url?.split("?", 1)[0] ?? "")) watchPieces(request);
    return handler(request, response);
  };
}

function watchPieces(request: IncomingMessage): void {
  const push = request.push.bind(request);
  let pieces = 0;
  let bytes = 0;
  // Not a listener for data, which would make the body flow before it is read.
  request.push = (piece: Uint8Array | null) => {
    if (piece === null) return push(null);
    pieces += 1;
    bytes += piece.byteLength;
    if (pieces <= MANY_CHUNKS || bytes >= pieces * TINY_CHUNK_BYTES) return push(piece);
    // The rest of the packet still comes, and costs next to nothing.
    request.push = () => false;
    request.socket.destroy();
    return false;
  };
}
