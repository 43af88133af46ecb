import { once } from "node:events";
import { type ClientHttp2Stream, createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { setImmediate as nextRound } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Http2Sessions, openHttp2Sessions } from "./http2-sessions.ts";

// An error that nobody hears fails the whole file, as it would end a service.

let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(() => void server.close());
  return (server.address() as AddressInfo).port;
}

interface Way {
  readonly url: string;
  /** What becomes of each connection that is opened from now on. */
  treat(connection: (inner: Socket, outer: Socket) => void): void;
  /** Nothing passes any more on the connections that are open, and nobody is told. */
  freeze(): void;
  reset(): void;
}

/** A server behind a proxy that can break every connection to it. */
async function startWay(): Promise<Way> {
  const backend = createHttp2Server();
  backend.on("sessionError", () => {});
  backend.on("stream", (stream: ServerHttp2Stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200 });
    stream.end("answer");
  });
  const backendPort = await listen(backend);
  const open = new Map<Socket, Socket>();
  let treatment: Parameters<Way["treat"]>[0] = () => {};
  const proxy = createServer((inner) => {
    const outer = connect(backendPort, "127.0.0.1");
    open.set(inner, outer);
    inner.on("error", () => {}).on("close", () => outer.destroy());
    outer.on("error", () => {}).on("close", () => inner.destroy());
    inner.on("close", () => open.delete(inner));
    inner.pipe(outer);
    outer.pipe(inner);
    treatment(inner, outer);
  });
  const port = await listen(proxy);
  stack.defer(() => {
    for (const socket of open.keys()) socket.destroy();
  });
  return {
    url: `http://127.0.0.1:${port}`,
    treat: (connection) => {
      treatment = connection;
    },
    freeze: () => {
      for (const [inner, outer] of open) {
        inner.unpipe();
        outer.unpipe();
      }
    },
    reset: () => {
      for (const inner of open.keys()) inner.resetAndDestroy();
    },
  };
}

function sessionsTo(way: Way, ping: { pingIntervalMs: number; pingTimeoutMs: number }): Http2Sessions {
  return stack.use(openHttp2Sessions(way.url, ping));
}

/** The answer, or "" for a call that failed. */
async function call(sessions: Http2Sessions, onError: () => void = () => {}): Promise<string> {
  let stream: ClientHttp2Stream;
  try {
    stream = await sessions.request("POST", "/", {}, {});
  } catch {
    return "";
  }
  let answer = "";
  stream.on("error", onError);
  stream.on("data", (piece) => {
    answer += piece;
  });
  stream.end();
  const silence = setTimeout(() => stream.destroy(), 20_000);
  await once(stream, "close").catch(() => {});
  clearTimeout(silence);
  return answer;
}

test("calls that come in the moment in which a silent session dies find a new one", async () => {
  const way = await startWay();
  const sessions = sessionsTo(way, { pingIntervalMs: 500, pingTimeoutMs: 1_000 });
  for (let round = 0; round < 3; round += 1) {
    expect(await call(sessions)).toBe("answer");
    way.freeze();
    // Its session is destroyed then and has not said so yet.
    const next = Promise.withResolvers<string>();
    const waiting = call(sessions, () => next.resolve(call(sessions)));
    expect(await waiting).toBe("");
    expect(await next.promise).toBe("answer");
  }
});

const phases: readonly (readonly [string, (inner: Socket, outer: Socket) => void])[] = [
  ["as soon as it is accepted", (inner) => inner.resetAndDestroy()],
  ["at the first bytes of the client", (inner) => inner.once("data", () => inner.resetAndDestroy())],
  ["at the first bytes of the server", (inner, outer) => outer.once("data", () => inner.resetAndDestroy())],
  [
    "just after the first bytes of the server",
    (inner, outer) => outer.once("data", () => setImmediate(() => inner.resetAndDestroy())),
  ],
  ["a few milliseconds later", (inner) => setTimeout(() => inner.resetAndDestroy(), 10 * Math.random())],
];

test.each(phases)("a connection that is reset %s ends its calls alone", async (_, breakIt) => {
  const way = await startWay();
  const sessions = sessionsTo(way, { pingIntervalMs: 1, pingTimeoutMs: 1_000 });
  way.treat(breakIt);
  for (let round = 0; round < 20; round += 1) {
    const calls = [call(sessions), call(sessions)];
    await nextRound();
    await Promise.all([...calls, call(sessions)]);
  }
  way.treat(() => {});
  await expect.poll(() => call(sessions), { timeout: 20_000 }).toBe("answer");
});

test("a connection that is reset while it is idle or being looked at is made anew", async () => {
  const way = await startWay();
  // Every call on a connection that has been idle for a millisecond sends a ping first.
  const sessions = sessionsTo(way, { pingIntervalMs: 1, pingTimeoutMs: 1_000 });
  for (let round = 0; round < 20; round += 1) {
    await expect.poll(() => call(sessions), { timeout: 20_000 }).toBe("answer");
    const late = round % 2 === 0 ? [] : [call(sessions), call(sessions)];
    way.reset();
    await Promise.all([...late, call(sessions)]);
  }
});
