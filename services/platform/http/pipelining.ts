import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** Requests of one HTTP/1.1 connection that may be under way. */
const MAX_UNANSWERED = 16;

/**
 * Cuts HTTP/1.1 connections that send requests without end and wait for no answer. Node parses all of them out of one
 * packet, and each of them holds memory until it is answered. Clients that pipeline at all keep to a handful.
 */
export function limitPipelining<R extends typeof IncomingMessage, S extends typeof ServerResponse>(
  handler: RequestListener<R, S>,
): RequestListener<R, S> {
  const unanswered = new WeakMap<Socket, number>();
  return (request, response) => {
    const { socket } = request;
    // The rest of the packet, after the connection was cut.
    if (socket.destroyed) return;
    const count = (unanswered.get(socket) ?? 0) + 1;
    if (count > MAX_UNANSWERED) {
      socket.destroy();
      return;
    }
    unanswered.set(socket, count);
    response.once("close", () => unanswered.set(socket, (unanswered.get(socket) ?? 1) - 1));
    return handler(request, response);
  };
}
