import { once } from "node:events";
import { request as requestHttp1 } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2, constants } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import type { Writable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLogger } from "#platform/log/logger.ts";
import { createMetrics } from "#platform/ops/metrics.ts";
import { anonymous } from "#platform/rpc/caller.ts";
import { toConnectError } from "#platform/rpc/details.ts";
import { createInFlight } from "#platform/rpc/in-flight.ts";
import { createPolicy } from "#platform/rpc/policy.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { TestProtocol } from "#platform/testing/test-protocol.ts";
import { grpcProtocols, type WireProtocol, webProtocols } from "#platform/testing/wire-protocols.ts";
import { systemClock } from "#platform/time/clock.ts";
import { type HttpServer, startHttpServer } from "./http-server.ts";

const PATIENCE = { timeout: 20_000 };
const inFlight = createInFlight();
/** What the handlers were asked, and how many of those were told that nobody waits any more. */
const begun: string[] = [];
let aborted = 0;

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const stop = () => {
      aborted += 1;
      reject(signal.reason);
    };
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop);
  });
}

const patient = implementPartly(TestProtocol, {
  unary: ({ value }, { signal }) => {
    begun.push(value);
    return untilAborted(signal);
  },
  serverStream: async function* ({ value }, { signal }) {
    begun.push(value);
    yield await untilAborted(signal);
  },
});

let server: HttpServer;
let session: ClientHttp2Session;
beforeAll(async () => {
  const log = createLogger("test", "warn", { write: () => {} });
  const policy = createPolicy({
    log,
    inFlight,
    metrics: createMetrics("test"),
    clock: systemClock,
    identify: () => anonymous,
    toTransportError: toConnectError,
    stopping: new AbortController().signal,
  });
  server = await startHttpServer({ host: "127.0.0.1", port: 0, services: [policy(patient)], log });
  session = connectHttp2(url());
  await once(session, "connect");
});
afterAll(async () => {
  session.destroy();
  await server.close({ graceMs: 0, calls: inFlight });
});

const url = () => `http://127.0.0.1:${server.port}`;
const headOf = ({ method, headers }: WireProtocol) => ({ path: `/${TestProtocol.typeName}/${method}`, headers });

/** A request, and what a client does that wants no answer any more. */
type Begin = (protocol: WireProtocol) => { readonly request: Writable; readonly giveUp: () => void };

const onHttp1: Begin = (protocol) => {
  const { path, headers } = headOf(protocol);
  const request = requestHttp1(url() + path, { method: "POST", headers, agent: false });
  request.on("error", () => {}).flushHeaders();
  return { request, giveUp: () => request.destroy() };
};

const onHttp2: Begin = (protocol) => {
  const { path, headers } = headOf(protocol);
  const stream = session.request({ ":method": "POST", ":path": path, ...headers });
  stream.on("error", () => {}).resume();
  return { request: stream, giveUp: () => stream.close(constants.NGHTTP2_CANCEL) };
};

const onOwnSession: Begin = (protocol) => {
  const { path, headers } = headOf(protocol);
  const own = connectHttp2(url()).on("error", () => {});
  const stream = own.request({ ":method": "POST", ":path": path, ...headers });
  stream.on("error", () => {}).resume();
  return { request: stream, giveUp: () => own.destroy() };
};

const transports = [
  { transport: "HTTP/1.1, its connection", begin: onHttp1, protocols: webProtocols },
  { transport: "HTTP/2, its stream", begin: onHttp2, protocols: [...webProtocols, ...grpcProtocols] },
  { transport: "HTTP/2, its connection", begin: onOwnSession, protocols: [...webProtocols, ...grpcProtocols] },
];

const value = "x".repeat(50_000);

test.for(transports)("a request that is given up leaves nothing behind: $transport", async ({ begin, protocols }) => {
  // Its head, half of it, and all but its last byte are no call.
  const halves = protocols.flatMap((protocol) => {
    const body = protocol.encode(value);
    return [0, body.byteLength / 2, body.byteLength - 1].map((bytes) => {
      const half = begin(protocol);
      if (bytes > 0) half.request.write(body.subarray(0, bytes));
      return half;
    });
  });
  await expect.poll(() => inFlight.count, PATIENCE).toBe(halves.length);
  for (const { giveUp } of halves) giveUp();
  await expect.poll(() => inFlight.count, PATIENCE).toBe(0);
  expect(begun).toEqual([]);

  // A call is told.
  const calls = protocols.map((protocol) => {
    const call = begin(protocol);
    call.request.end(protocol.encode(value));
    return call;
  });
  await expect.poll(() => begun.length, PATIENCE).toBe(calls.length);
  for (const { giveUp } of calls) giveUp();
  await expect.poll(() => [inFlight.count, aborted], PATIENCE).toEqual([0, calls.length]);
  expect(new Set(begun)).toEqual(new Set([value]));
  begun.length = 0;
  aborted = 0;

  // So is one that is given up in the moment in which it becomes complete, where it became a call at all.
  for (const protocol of protocols) {
    const call = begin(protocol);
    call.request.end(protocol.encode(value), () => setImmediate(call.giveUp));
  }
  const behind = protocols.map((protocol) => {
    const call = begin(protocol);
    call.request.end(protocol.encode("behind"));
    return call;
  });
  await expect.poll(() => begun.filter((asked) => asked === "behind").length, PATIENCE).toBe(behind.length);
  for (const { giveUp } of behind) giveUp();
  await expect.poll(() => [inFlight.count, begun.length - aborted], PATIENCE).toEqual([0, 0]);
  begun.length = 0;
  aborted = 0;
});

test("a request that breaks off is no call, and leaves nothing behind", async () => {
  const ways: readonly ((socket: Socket) => unknown)[] = [
    (socket) => socket.end(),
    (socket) => socket.resetAndDestroy(),
    (socket) => socket.write("no length of a chunk\r\n"),
  ];
  const half = ways.map((breakOff) => ({
    breakOff,
    socket: connectTcp(server.port, "127.0.0.1").on("error", () => {}),
  }));
  for (const { socket } of half) {
    const head = `POST /${TestProtocol.typeName}/Unary HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n`;
    socket.write(`${head}transfer-encoding: chunked\r\n\r\n3\r\n"ab\r\n`);
  }
  await expect.poll(() => inFlight.count, PATIENCE).toBe(half.length);
  for (const { breakOff, socket } of half) breakOff(socket);
  await expect.poll(() => inFlight.count, PATIENCE).toBe(0);
  expect(begun).toEqual([]);
  for (const { socket } of half) socket.destroy();
});
