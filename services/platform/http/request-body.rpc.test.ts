import { once } from "node:events";
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from "node:http2";
import { connect as connectTcp } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AuthService, LoginRequestSchema } from "#gen/decentrastore/auth/v1/auth_service_pb.ts";
import { implementPartly } from "#platform/testing/implement-partly.ts";
import { startTestService, type TestService } from "#platform/testing/test-service.ts";
import { STARTS_PER_TURN } from "./start-queue.ts";

const PATIENCE = { timeout: 20_000 };
const path = "/decentrastore.auth.v1.AuthService/Login";
const MIB = 1024 * 1024;

const served: string[] = [];
const turns: number[] = [];
let turn = 0;
const login = implementPartly(AuthService, {
  login: ({ username }) => {
    served.push(username);
    turns.push(turn);
    return { user: { username } };
  },
});
let running: TestService;
beforeAll(async () => {
  running = await startTestService({ services: [login] });
});
afterAll(() => running[Symbol.asyncDispose]());

function envelope(message: Uint8Array, length = message.byteLength): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

const messageOf = (username: string) => toBinary(LoginRequestSchema, create(LoginRequestSchema, { username }));

async function openSession(): Promise<ClientHttp2Session> {
  const session = connect(running.url).on("error", () => {});
  await once(session, "connect");
  return session;
}

function begin(session: ClientHttp2Session, headers: OutgoingHttpHeaders) {
  const stream = session.request({ ":method": "POST", ":path": path, te: "trailers", ...headers });
  stream.on("error", () => {}).resume();
  return stream;
}

const grpc = { "content-type": "application/grpc" };
const plain = { "content-type": "application/proto" };

test.for([
  { kind: "gRPC", headers: grpc, body: envelope(messageOf("in-pieces")) },
  { kind: "Connect", headers: plain, body: Buffer.from(messageOf("in-pieces")) },
])("a message is served however it is cut: $kind", async ({ headers, body }) => {
  const session = await openSession();
  for (const size of [1, 3, 6, 100]) {
    served.length = 0;
    const stream = begin(session, headers);
    for (let at = 0; at < body.byteLength; at += size) {
      stream.write(body.subarray(at, at + size));
      await nextTurn();
    }
    stream.end();
    await once(stream, "close");
    expect(served).toEqual(["in-pieces"]);
  }
  session.destroy();
});

test("an empty message is a message, whether its end comes with its head or after it", async () => {
  const session = await openSession();
  for (const when of ["in its head", "at once", "in the next turn"]) {
    served.length = 0;
    const stream = session.request(
      { ":method": "POST", ":path": path, ...plain },
      { endStream: when === "in its head" },
    );
    stream.resume();
    if (when === "in the next turn") await nextTurn();
    if (when !== "in its head") stream.end();
    await once(stream, "close");
    expect(served, when).toEqual([""]);
  }
  for (const httpVersion of ["1.1", "2"] as const) {
    const transport = createConnectTransport({ baseUrl: running.url, httpVersion });
    expect(await createClient(AuthService, transport).login({})).toMatchObject({ user: { username: "" } });
  }
  session.destroy();
});

test("large messages that wait for their turn are whole", async () => {
  // Together twice what one second brings.
  const httpLimits = { maxBodyBytesPerSecond: 200_000 };
  await using slow = await startTestService({ services: [login], httpLimits });
  const username = "x".repeat(200_000);
  const answers = (["1.1", "2"] as const).map((httpVersion) => {
    const transport = createConnectTransport({ baseUrl: slow.url, httpVersion });
    return createClient(AuthService, transport).login({ username });
  });
  for (const { user } of await Promise.all(answers)) expect(user?.username === username).toBe(true);
});

test("requests that are given up before they are complete are no calls", async () => {
  const session = await openSession();
  served.length = 0;
  const before = running.lastCall();
  for (let index = 0; index < 50; index += 1) {
    begin(session, grpc).write(envelope(messageOf("given-up")).subarray(0, -1));
  }
  // A request behind them is answered when they have been read.
  await fetch(`${running.url}${path}`, { method: "POST", body: "{", headers: { "content-type": "application/json" } });
  await expect.poll(() => running.lastCall()).not.toEqual(before);
  const refused = running.lastCall();
  session.destroy();
  const response = await fetch(`${running.url}/livez`);
  expect(response.status).toBe(200);
  expect(running.lastCall()).toEqual(refused);
  expect(served).toEqual([]);
});

test("what announces too much is refused at once, and its stream is reset", async () => {
  const session = await openSession();
  const enveloped = begin(session, grpc);
  enveloped.write(envelope(Buffer.alloc(10), 100 * MIB));
  const announced = begin(session, { ...plain, "content-length": 100 * MIB });
  announced.write(Buffer.alloc(10));
  const [[trailers], [head]] = await Promise.all([once(enveloped, "trailers"), once(announced, "response")]);
  expect(trailers["grpc-status"]).toBe("8");
  expect(head[":status"]).toBe(429);
  await expect.poll(() => enveloped.closed && announced.closed, PATIENCE).toBe(true);
  expect(session.destroyed).toBe(false);
  session.destroy();
});

test("an HTTP/1.1 client that is refused reads why, and is cut when it does not come to an end", async () => {
  const socket = connectTcp(Number(new URL(running.url).port), "127.0.0.1");
  let answer = "";
  socket.on("data", (piece) => {
    answer += piece;
  });
  socket.on("error", () => {});
  socket.write(
    `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ncontent-length: ${9 * MIB}\r\n\r\n`,
  );
  socket.write(Buffer.alloc(100));
  await once(socket, "close", { signal: AbortSignal.timeout(PATIENCE.timeout) });
  expect(answer).toContain("429 Too Many Requests");
  expect(answer).toContain("resource_exhausted");
});

test("requests that become complete all at once are started a few in each turn", async () => {
  const session = await openSession();
  const body = envelope(messageOf("all-at-once"));
  const streams = Array.from({ length: 80 }, () => {
    const stream = begin(session, grpc);
    stream.write(body.subarray(0, -1));
    return stream;
  });
  await fetch(`${running.url}/livez`);
  served.length = 0;
  turns.length = 0;
  const ended = Promise.all(streams.map((stream) => once(stream, "close")));
  for (const stream of streams) stream.end(body.subarray(-1));
  for (let patience = 0; served.length < streams.length && patience < 20_000; patience += 1) {
    turn += 1;
    await nextTurn();
  }
  expect(served).toHaveLength(streams.length);
  await ended;
  const perTurn = Map.groupBy(turns, (started) => started);
  expect(Math.max(...[...perTurn.values()].map(({ length }) => length))).toBeLessThanOrEqual(2 * STARTS_PER_TURN);
  session.destroy();
});
