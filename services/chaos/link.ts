import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** One way between a client and a server, to be made slow, cut, frozen or led elsewhere. */
export interface Link extends AsyncDisposable {
  readonly port: number;
  /** From now on each piece of data arrives this much later, in both directions. */
  delay(ms: number): void;
  /** Connections break, and new ones are closed at once, until it is mended. */
  cut(): void;
  /** Nothing passes and nobody is told: a cable that was pulled. Mended, what was frozen breaks. */
  freeze(): void;
  /** All connections end by a reset; new ones pass. */
  reset(): void;
  mend(): void;
  /** New connections go to this port; those to the old one break. */
  leadTo(port: number): void;
}

interface State {
  mode: "open" | "cut" | "frozen";
  delayMs: number;
  targetPort: number;
}

export async function startLink(targetPort: number): Promise<Link> {
  const state: State = { mode: "open", delayMs: 0, targetPort };
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  };
  const resetAll = () => {
    for (const socket of sockets) reset(socket);
  };
  const server = createServer((inner) => {
    keep(inner);
    if (state.mode === "cut") return reset(inner);
    if (state.mode === "frozen") return; // accepted by the kernel, heard by nobody
    const outer = connect(state.targetPort, "127.0.0.1");
    keep(outer);
    forward(inner, outer, state);
    forward(outer, inner, state);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no TCP address");
  return {
    port: address.port,
    delay: (ms) => {
      state.delayMs = ms;
    },
    cut: () => {
      state.mode = "cut";
      resetAll();
    },
    freeze: () => {
      state.mode = "frozen";
    },
    reset: resetAll,
    mend: () => {
      if (state.mode === "frozen") resetAll();
      state.mode = "open";
      state.delayMs = 0;
    },
    leadTo: (port) => {
      state.targetPort = port;
      resetAll();
    },
    [Symbol.asyncDispose]: async () => {
      resetAll();
      server.close();
      await once(server, "close");
    },
  };
}

/**
 * A socket whose end is just being sent is closed instead: Node forgets one that is reset in that moment, and the whole
 * process then never ends.
 */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** Keeps the order of what it delays; what a frozen link holds is never delivered. */
function forward(from: Socket, to: Socket, state: State): void {
  let lastDueAt = 0;
  const later = (deliver: () => void) => {
    const now = performance.now();
    const dueAt = Math.max(lastDueAt, now + state.delayMs);
    lastDueAt = dueAt;
    const whenOpen = () => {
      if (state.mode === "open") deliver();
    };
    if (dueAt <= now) whenOpen();
    else setTimeout(whenOpen, dueAt - now);
  };
  from.on("data", (piece: Buffer) => {
    later(() => {
      if (to.destroyed || to.write(piece)) return;
      from.pause();
      to.once("drain", () => from.resume());
    });
  });
  from.on("end", () => later(() => to.end()));
  from.on("close", (hadError) => {
    if (hadError) reset(to);
    else later(() => to.destroySoon());
  });
}
