import type { Socket } from "node:net";

const SLICE_BYTES = 4_096;

/**
 * Hands packets to Node's HTTP/1.1 parser a slice at a time, and none of the rest once the connection is cut. The parser
 * itself does not stop in the middle: 64 KiB hold 450 requests or ten thousand chunks of a body, and a connection that is
 * cut at the 17th request would make, and then abort, all of them: 10 ms for each packet.
 *
 * For a socket that the server listens to by now.
 */
export function sliceForParser(socket: Socket): void {
  const listeners = socket.listeners("data");
  socket.removeAllListeners("data");
  socket.on("data", (packet: NonSharedBuffer) => {
    for (let at = 0; at < packet.byteLength && !socket.destroyed; at += SLICE_BYTES) {
      // The server paused it for answers that are not read; its parser takes nothing until it is resumed.
      if (socket.isPaused()) return socket.unshift(packet.subarray(at));
      const slice = packet.subarray(at, at + SLICE_BYTES);
      for (const listener of listeners) listener.call(socket, slice);
    }
  });
}
