import type { Server } from "node:http";
import type { Http2Server } from "node:http2";
import type { Socket } from "node:net";
import { sliceForParser } from "./packet-slices.ts";

// The first bytes of every HTTP/2 connection with prior knowledge ("PRI * HTTP/2.0"). No HTTP/1 method starts so.
const PREFACE = Buffer.from("PRI ");

export interface SharedPort {
  readonly open: ReadonlySet<Socket>;
  readonly silent: ReadonlySet<Socket>;
}

/**
 * Serves HTTP/1.1 and h2c on the port of `http1`, told apart by the first four bytes. The HTTP/1 server owns the port and
 * hands over only HTTP/2 sockets, so that its header and request timeouts and its idle closing keep working.
 * A socket that says nothing for `sniffTimeoutMs` is cut. Gives all open sockets, and those among them that have said
 * nothing yet.
 */
export function shareOnePort(http1: Server, http2: Http2Server, sniffTimeoutMs: number): SharedPort {
  const open = new Set<Socket>();
  const silent = new Set<Socket>();
  const asHttp1 = http1.listeners("connection");
  http1.removeAllListeners("connection");
  http1.on("connection", (socket: Socket) => {
    // Without a listener a reset of the peer would be an uncaught exception; the servers add their own.
    socket.on("error", () => {});
    open.add(socket);
    silent.add(socket);
    socket.once("close", () => open.delete(socket));
    const timer = setTimeout(() => socket.destroy(), sniffTimeoutMs);
    const settle = () => {
      clearTimeout(timer);
      silent.delete(socket);
    };
    socket.once("close", settle);
    sniff(socket, (isHttp2) => {
      settle();
      socket.off("close", settle);
      if (isHttp2) {
        // HTTP/1 sockets may be half open. An HTTP/2 session does not notice then that its client has left: its streams
        // would stay open for ever.
        socket.allowHalfOpen = false;
        http2.emit("connection", socket);
      } else {
        for (const listener of asHttp1) listener.call(http1, socket);
        sliceForParser(socket);
        socket.resume();
      }
    });
  });
  return { open, silent };
}

/** `data` and `unshift`, because `readable` with `read()` loses sockets whose first packet is shorter than 4 bytes. */
function sniff(socket: Socket, decide: (isHttp2: boolean) => void): void {
  let head: Buffer = Buffer.alloc(0);
  // Half open, it would keep its place among the connections until the timer.
  const onEnd = () => socket.destroy();
  const onData = (chunk: Buffer) => {
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    const length = Math.min(head.length, PREFACE.length);
    const isPreface = head.compare(PREFACE, 0, length, 0, length) === 0;
    if (isPreface && length < PREFACE.length) return;
    socket.pause();
    socket.off("data", onData);
    socket.off("end", onEnd);
    socket.unshift(head);
    decide(isPreface);
  };
  socket.on("data", onData);
  socket.on("end", onEnd);
}
